// Processes that end when they should: each in a group of its own, which is killed whole, and known to
// the guard (guard.mjs), which kills it should this process die first.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const KILL_MS = 10_000;

let guard: ChildProcess | undefined;

function tellGuard(line: string): void {
  if (guard === undefined) {
    const script = fileURLToPath(new URL('./guard.mjs', import.meta.url));
    guard = spawn(process.execPath, [script], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    // It must not keep this process alive, whose end it waits for.
    guard.unref();
    (guard.stdin as unknown as { unref(): void }).unref();
  }
  guard.stdin!.write(`${line}\n`);
}

/** A folder below the system's one for temporary files, to be given back to `removeFolder`. */
export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `diskplane-${name}-`));
  tellGuard(`folder ${folder}`);
  return folder;
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  tellGuard(`-folder ${folder}`);
}

export class ProcessGroup {
  readonly child: ChildProcess;
  /** The last of what it said on standard output and error. */
  output = '';
  #said: (() => void) | undefined;

  constructor(program: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.child = spawn(program, args, {
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.on('error', (error) => this.#add(String(error)));
    if (this.child.pid !== undefined) tellGuard(`group ${this.child.pid}`);
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => this.#add(text));
    }
  }

  /** Waits for a match in what it says. */
  async says(pattern: RegExp, timeout: number): Promise<RegExpExecArray> {
    const end = Date.now() + timeout;
    for (;;) {
      const match = pattern.exec(this.output);
      if (match !== null) return match;
      const left = end - Date.now();
      if (left <= 0 || this.child.exitCode !== null) {
        throw new Error(`${this.child.spawnfile} did not say ${String(pattern)}: ${this.output}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 1000));
        this.#said = (): void => (clearTimeout(timer), resolve());
      });
    }
  }

  /** Kills all of them, as a crash would, and waits until they are gone. Idempotent. */
  async kill(): Promise<void> {
    const { pid } = this.child;
    if (pid === undefined) return;
    const end = Date.now() + KILL_MS;
    while (signalGroup(pid)) {
      if (Date.now() > end) throw new Error(`process group ${pid} outlives SIGKILL`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    tellGuard(`-group ${pid}`);
  }

  #add(text: string): void {
    this.output = (this.output + text).slice(-20_000);
    this.#said?.();
  }
}

/** False when the group has no process any more. */
function signalGroup(pid: number): boolean {
  try {
    return process.kill(-pid, 'SIGKILL');
  } catch {
    return false;
  }
}
