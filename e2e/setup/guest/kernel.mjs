// Turns a compressed kernel into one that is already unpacked, which saves the emulator about 8 seconds
// of unpacking at every boot. The real-mode setup code stays; the protected-mode part becomes a
// jump, followed by the segments of vmlinux at their physical addresses.
// Layout: Documentation/arch/x86/boot.rst of the kernel, "The Real-Mode Kernel Header"; ELF32.

import { SetupError } from '../shell.mjs';
import { unxz } from './xz.mjs';

/** Where a bzImage's protected-mode part is loaded. */
const LOAD_ADDRESS = 0x100000;
const MAX_KERNEL = 128 << 20;

const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const HEADER_MAGIC = 0x202;
const RELOCATABLE_KERNEL = 0x234;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;

/**
 * @param {Buffer} bzImage of a 32-bit x86 kernel compressed with xz
 * @returns {Promise<Buffer>} a bzImage for v86's `bzimage` option
 */
export async function unpackKernel(bzImage) {
  if (bzImage.toString('latin1', HEADER_MAGIC, HEADER_MAGIC + 4) !== 'HdrS') {
    throw new SetupError('the kernel is no bzImage');
  }
  const setupBytes = ((bzImage[SETUP_SECTS] || 4) + 1) * 512;
  const start = setupBytes + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  // The payload ends with its unpacked size, which is no part of the xz stream.
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(PAYLOAD_LENGTH) - 4);
  const { entry, segments } = parseElf32(await unxz(payload, MAX_KERNEL));

  const fileEnd = Math.max(...segments.map((s) => s.physical + s.data.length));
  const memoryEnd = Math.max(...segments.map((s) => s.physical + s.memoryBytes));
  const body = Buffer.alloc(roundUp(fileEnd - LOAD_ADDRESS, 512));
  body.set([0xb8, 0, 0, 0, 0, 0xff, 0xe0]); // mov eax, entry; jmp eax
  body.writeUInt32LE(entry, 1);
  for (const { physical, data } of segments) data.copy(body, physical - LOAD_ADDRESS);

  const setup = Buffer.from(bzImage.subarray(0, setupBytes));
  setup.writeUInt32LE(body.length / 16, SYSSIZE);
  // It runs at 1 MiB and nowhere else, and needs room for what has no bytes in the file.
  setup[RELOCATABLE_KERNEL] = 0;
  setup.writeBigUInt64LE(BigInt(LOAD_ADDRESS), PREF_ADDRESS);
  setup.writeUInt32LE(roundUp(memoryEnd - LOAD_ADDRESS, 4096), INIT_SIZE);
  return Buffer.concat([setup, body]);
}

/**
 * @typedef {object} Segment
 * @property {number} physical address
 * @property {Buffer} data
 * @property {number} memoryBytes at least `data.length`
 */

/**
 * The loadable segments of a 32-bit little-endian ELF file.
 * @param {Buffer} elf
 * @returns {{ entry: number, segments: Segment[] }}
 */
function parseElf32(elf) {
  if (elf.toString('latin1', 0, 6) !== '\x7fELF\x01\x01') {
    throw new SetupError('the kernel unpacks to no 32-bit ELF file');
  }
  const tableOffset = elf.readUInt32LE(28);
  const count = elf.readUInt16LE(44);
  const segments = [];
  for (let i = 0; i < count; i++) {
    const [type, offset, , physical, fileBytes, memoryBytes] = Array.from(
      { length: 6 },
      (_, field) => elf.readUInt32LE(tableOffset + i * 32 + field * 4),
    );
    if (type !== 1) continue; // PT_LOAD
    if (physical < LOAD_ADDRESS + 16 || physical + memoryBytes > LOAD_ADDRESS + MAX_KERNEL) {
      throw new SetupError(`a segment of the kernel lies at 0x${physical.toString(16)}`);
    }
    segments.push({ physical, memoryBytes, data: elf.subarray(offset, offset + fileBytes) });
  }
  if (segments.length === 0) throw new SetupError('the kernel has no loadable segment');
  return { entry: elf.readUInt32LE(24), segments };
}

/**
 * @param {number} value
 * @param {number} unit a power of two
 */
function roundUp(value, unit) {
  return Math.ceil(value / unit) * unit;
}
