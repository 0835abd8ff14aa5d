// Runs the real qemu-img and qemu-io: the oracle of the image formats. Where they are missing, tests
// say what they skip; in CI (`CI` is set) that is a failure.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let version: string | undefined;

/** True when qemu-img and qemu-io are installed. Throws in CI when they are not. */
export function haveQemu(): boolean {
  version ??= findVersion();
  if (version === '' && process.env['CI'] !== undefined) {
    throw new Error('qemu-img and qemu-io are needed (Debian: qemu-utils)');
  }
  return version !== '';
}

function findVersion(): string {
  try {
    execFileSync('qemu-io', ['--version'], { encoding: 'utf8' });
    return execFileSync('qemu-img', ['--version'], { encoding: 'utf8' }).split('\n')[0]!;
  } catch {
    return '';
  }
}

/** What a tool answered. */
export interface QemuAnswer {
  /** Exit status; see `qemu-img check` and `compare`. */
  readonly status: number;
  /** Standard output, then standard error. */
  readonly output: string;
}

/** Runs qemu-img; throws only when it cannot be started or is killed. */
export function qemuImg(...args: string[]): QemuAnswer {
  return run('qemu-img', args);
}

/** Runs qemu-io on one image; `commands` are its own, such as 'write -P 7 0 64k'. */
export function qemuIo(image: string, format: string, commands: readonly string[]): QemuAnswer {
  return run('qemu-io', ['-f', format, '-t', 'unsafe', image], commands.join('\n') + '\nquit\n');
}

/** Runs qemu-img and throws when it does not answer 0. Answers its output. */
export function qemuImgOk(...args: string[]): string {
  const answer = qemuImg(...args);
  if (answer.status !== 0) {
    throw new Error(`qemu-img ${args.join(' ')}: ${answer.status}\n${answer.output}`);
  }
  return answer.output;
}

/** Runs `body` with a directory that is removed afterwards. */
export async function withTempDir<T>(body: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'diskplane-qemu-'));
  try {
    return await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function run(program: string, args: readonly string[], input?: string): QemuAnswer {
  const result = spawnSync(program, args, {
    encoding: 'utf8',
    timeout: 60_000,
    ...(input === undefined ? {} : { input }),
  });
  if (result.error !== undefined) throw result.error;
  if (result.status === null) throw new Error(`${program} was killed by ${result.signal}`);
  return { status: result.status, output: result.stdout + result.stderr };
}
