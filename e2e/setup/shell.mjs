// What every set-up step needs: the repository's root, looking for a program, running one with its
// output shown or kept, and saying what goes on. Plain Node 20, no dependencies: it runs before
// `npm ci` has.

import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A failure whose message is meant for the person at the keyboard: printed without a stack. */
export class SetupError extends Error {
  name = 'SetupError';
}

/**
 * Prints one line of progress.
 * @param {string} line
 */
export function say(line) {
  console.log(`  ${line}`);
}

/**
 * Looks a program up in PATH, and where administrators' programs live (PATH often lacks those).
 * @param {string} name without `.exe`
 * @returns {string | undefined} its path
 */
export function which(name) {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean);
  if (process.platform !== 'win32') {
    folders.push('/usr/sbin', '/sbin', '/usr/local/sbin', '/opt/homebrew/opt/e2fsprogs/sbin');
  }
  const endings = process.platform === 'win32' ? ['.exe', '.cmd', ''] : [''];
  for (const folder of folders) {
    for (const ending of endings) {
      const path = join(folder, name + ending);
      if (isProgram(path)) return path;
    }
  }
  return undefined;
}

/**
 * @param {string} path
 * @returns {boolean} whether it is a file that may be run
 */
export function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * Modification time in milliseconds, or 0 for what does not exist.
 * @param {string} path
 * @returns {number}
 */
export function mtime(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

/**
 * Runs a program and waits for it. Its output goes to ours, unless `quiet`: then it is kept, and
 * shown only in the message of a failure.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, quiet?: boolean, mayFail?: boolean }} [options]
 * @returns {Promise<{ code: number, output: string }>} `code` is not 0 only with `mayFail`
 * @throws {SetupError} where the program is missing or fails
 */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: options.quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
      // npm is a .cmd file on Windows, which only a shell starts.
      shell: process.platform === 'win32' && !command.endsWith('.exe'),
    });
    let output = '';
    child.stdout?.on('data', (data) => (output += data));
    child.stderr?.on('data', (data) => (output += data));
    child.on('error', (error) => reject(new SetupError(`cannot run ${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0 || options.mayFail) return resolve({ code: code ?? 1, output });
      const end = signal ? `was ended by ${signal}` : `failed with exit code ${code}`;
      const tail = output.trimEnd().split('\n').slice(-30).join('\n');
      reject(new SetupError(`${command} ${args.join(' ')}\n${end}${tail && `:\n${tail}`}`));
    });
  });
}

/**
 * Runs the JavaScript file of an installed package with this very Node.
 * @param {string} script path below node_modules
 * @param {readonly string[]} args
 * @param {Parameters<typeof run>[2]} [options]
 */
export function runInstalled(script, args, options) {
  return run(process.execPath, [join(root, 'node_modules', script), ...args], options);
}

/**
 * Runs one stage: its name before, its duration after.
 * @template T
 * @param {string} name
 * @param {() => Promise<T> | T} work
 * @returns {Promise<T>}
 */
export async function stage(name, work) {
  const start = performance.now();
  console.log(`== ${name}`);
  try {
    return await work();
  } finally {
    console.log(`== ${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }
}

/**
 * Runs a script's main function: an error meant for people is printed as it is, a bug of ours with
 * its stack; both end with exit code 1.
 * @param {() => Promise<void>} main
 */
export async function runMain(main) {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof SetupError ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}
