// Unpacks xz data through the `xz` program: Node has no decoder of its own.

import { spawn } from 'node:child_process';
import { SetupError } from '../shell.mjs';

/**
 * Unpacks the first xz stream in `data`; what follows it is left alone.
 * @param {Uint8Array} data
 * @param {number} maxBytes of the result
 * @returns {Promise<Buffer>}
 * @throws {SetupError} without `xz`, and for data that is broken or too large
 */
export function unxz(data, maxBytes) {
  return new Promise((resolve, reject) => {
    const child = spawn('xz', ['-dc', '--single-stream'], { stdio: ['pipe', 'pipe', 'ignore'] });
    /** @type {Buffer[]} */
    const chunks = [];
    let bytes = 0;
    child.stdout.on('data', (chunk) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > maxBytes) child.kill();
    });
    // xz stops reading after the stream; that is no failure.
    child.stdin.on('error', () => {});
    child.on('error', () => reject(new SetupError('the guest needs the program xz (xz-utils)')));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(chunks));
      else if (bytes > maxBytes)
        reject(new SetupError(`xz data is over ${maxBytes} bytes unpacked`));
      else reject(new SetupError(`xz data is broken (xz exit code ${code})`));
    });
    child.stdin.end(data);
  });
}
