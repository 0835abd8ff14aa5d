// The common configuration structure of virtio-pci (virtio 1.2, 4.1.4.3): where its registers are, and
// how an access of any width at any offset becomes accesses of whole registers.

/** Offsets of the registers, from the start of the structure. */
export const DEVICE_FEATURE_SELECT = 0x00;
export const DEVICE_FEATURE = 0x04;
export const DRIVER_FEATURE_SELECT = 0x08;
export const DRIVER_FEATURE = 0x0c;
export const MSIX_CONFIG = 0x10;
export const DEVICE_STATUS = 0x14;
export const QUEUE_SELECT = 0x16;
export const QUEUE_SIZE = 0x18;
export const QUEUE_ENABLE = 0x1c;
/** queue_desc, queue_driver and queue_device: six words. */
export const QUEUE_ADDRESSES = 0x20;
export const VIRTIO_MSI_NO_VECTOR = 0xffff;

/** The registers that a driver may write: [offset, bytes]. */
const WRITABLE: readonly (readonly [offset: number, bytes: number])[] = [
  [DEVICE_FEATURE_SELECT, 4],
  [DRIVER_FEATURE_SELECT, 4],
  [DRIVER_FEATURE, 4],
  [DEVICE_STATUS, 1],
  [QUEUE_SELECT, 2],
  [QUEUE_SIZE, 2],
  [QUEUE_ENABLE, 2],
  ...[0, 4, 8, 12, 16, 20].map((at) => [QUEUE_ADDRESSES + at, 4] as const),
];

/** The structure, seen as words and as registers. */
export interface CommonRegisters {
  /** The 32 bits at `at`, a multiple of 4; 0 beyond the structure. */
  word(at: number): number;
  /** Writes the whole register at `at`. */
  setRegister(at: number, value: number): void;
}

/** Reads `width` (1, 2 or 4) bytes at `offset`; unsigned. */
export function readCommon(registers: CommonRegisters, offset: number, width: number): number {
  const shift = 8 * (offset & 3);
  const at = offset & ~3;
  let value = registers.word(at) >>> shift;
  if (shift + 8 * width > 32) value |= registers.word(at + 4) << (32 - shift);
  return width === 4 ? value >>> 0 : value & (2 ** (8 * width) - 1);
}

/** Writes `width` bytes at `offset`; what is wider or narrower than a register is cut or merged. */
export function writeCommon(
  registers: CommonRegisters,
  offset: number,
  width: number,
  value: number,
): void {
  for (const [at, bytes] of WRITABLE) {
    if (at === offset && bytes === width) {
      registers.setRegister(at, value);
      return;
    }
  }
  for (const [at, bytes] of WRITABLE) {
    if (at >= offset + width || at + bytes <= offset) continue;
    let merged = readCommon(registers, at, bytes);
    for (let i = 0; i < width; i++) {
      const shift = 8 * (offset + i - at);
      if (shift < 0 || shift >= 8 * bytes) continue;
      merged = (merged & ~(0xff << shift)) | (((value >>> (8 * i)) & 0xff) << shift);
    }
    registers.setRegister(at, merged);
  }
}
