// A stranger's project in a folder of its own: the packed package and what it depends on in
// node_modules, the sources of a consumer beside it. Tools come from this checkout.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root: string = fileURLToPath(new URL('../..', import.meta.url));
const runFile = promisify(execFile);

/** The package as `npm pack` makes it. */
export interface Packed {
  /** The .tgz file. */
  readonly tarball: string;
  /** Paths in it. */
  readonly files: readonly string[];
}

/** Packs dist/ as it is into `folder`. */
export async function pack(folder: string): Promise<Packed> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const windows = process.platform === 'win32';
  const npm = windows ? 'npm.cmd' : 'npm';
  const { stdout } = await runFile(npm, args, { cwd: root, shell: windows });
  const [packed] = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[];
  return {
    tarball: join(folder, packed!.filename),
    files: packed!.files.map(({ path }) => path).sort(),
  };
}

export class ConsumerProject {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'diskplane-consumer-'));
  /** The installed package. */
  readonly package: string = join(this.folder, 'node_modules/diskplane');

  /** Installs the package as npm would, from what is at hand. */
  async install({ tarball }: Packed): Promise<void> {
    mkdirSync(this.package, { recursive: true });
    // Relative, since GNU tar takes 'C:' for a host.
    cpSync(tarball, join(this.folder, 'package.tgz'));
    const args = ['-xzf', 'package.tgz', '--strip-components=1', '-C', 'node_modules/diskplane'];
    await runFile('tar', args, { cwd: this.folder });
    const manifest = JSON.parse(readFileSync(join(this.package, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    for (const name of Object.keys(manifest.dependencies)) this.depend(name);
  }

  /** Installs another package, one that this checkout has. */
  depend(name: string): void {
    const [from, to] = [root, this.folder].map((folder) => join(folder, 'node_modules', name));
    cpSync(from!, to!, { recursive: true });
  }

  /** Adds the files of `e2e/consumers/<name>`. */
  add(name: string): void {
    cpSync(join(root, 'e2e/consumers', name), this.folder, { recursive: true });
  }

  /** Runs a script of this checkout, or of the project (a bare name), in Node; answers all it printed. */
  async run(script: string, args: readonly string[] = []): Promise<string> {
    const path = script.includes('/') ? join(root, 'node_modules', script) : script;
    const running = runFile(process.execPath, [path, ...args], { cwd: this.folder });
    const { stdout, stderr } = await running.catch(
      (error: Error & { stdout: string; stderr: string }) => {
        throw new Error(`${script}: ${error.message}\n${error.stdout}${error.stderr}`);
      },
    );
    return stdout + stderr;
  }

  /** Starts a tool of this checkout that goes on until it is killed. */
  start(script: string, args: readonly string[]): ChildProcess {
    const path = join(root, 'node_modules', script);
    return spawn(process.execPath, [path, ...args], { cwd: this.folder, stdio: 'inherit' });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}
