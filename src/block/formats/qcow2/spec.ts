// Numbers of the qcow2 file format, spelled as in QEMU's docs/interop/qcow2.txt. All fields on disk
// are big-endian; 64-bit entries are handled as two unsigned 32-bit halves, `hi` and `lo`.

/** `QFI\xfb` */
export const QCOW2_MAGIC = 0x514649fb;

export const HEADER_V2_BYTES = 72;
/** The least a version 3 header may have. */
export const HEADER_V3_BYTES = 104;
/** What we write: with compression_type and padding. */
export const HEADER_WRITTEN_BYTES = 112;

// Offsets of header fields that change while an image is open.
export const HEADER_BACKING_FILE = 8;
export const HEADER_SIZE = 24;
export const HEADER_L1_SIZE = 36;
export const HEADER_REFCOUNT_TABLE = 48;
export const HEADER_INCOMPATIBLE = 72;
export const HEADER_AUTOCLEAR = 88;

export const INCOMPAT_DIRTY = 1n;
export const INCOMPAT_CORRUPT = 2n;
export const INCOMPAT_DATA_FILE = 4n;
export const INCOMPAT_COMPRESSION = 8n;
export const INCOMPAT_EXTL2 = 16n;
export const COMPAT_LAZY_REFCOUNTS = 1n;
export const AUTOCLEAR_BITMAPS = 1n;
/** Ours, of the bits that the format has not given out: EXT_GENERATION holds what it says. */
export const AUTOCLEAR_GENERATION: bigint = 1n << 63n;

export const EXT_END = 0;
export const EXT_BACKING_FORMAT = 0xe2792aca;
export const EXT_FEATURE_TABLE = 0x6803f857;
export const EXT_BITMAPS = 0x23852875;
/** Ours: the version of the contents; see generation.ts. */
export const EXT_GENERATION = 0x44504731;
export const GENERATION_BYTES = 16;
/** Magic number and length, before each extension's data. */
export const EXTENSION_HEAD_BYTES = 8;
/** Bytes of one entry of the feature name table: type, bit, 46 bytes of name. */
export const FEATURE_NAME_BYTES = 48;

export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
export const MAX_L1_BYTES: number = 32 * 1024 * 1024;
export const MAX_REFCOUNT_TABLE_BYTES: number = 8 * 1024 * 1024;
export const MAX_REFCOUNT_ORDER = 6;
export const MAX_BACKING_NAME = 1023;

/** Bit 63: the refcount is exactly one, so the cluster may be written in place. */
export const OFLAG_COPIED_HI = 0x80000000;
/** Bit 62 of an L2 entry. */
export const OFLAG_COMPRESSED_HI = 0x40000000;
/** Bit 0 of an L2 entry: reads as zeroes (version 3). */
export const OFLAG_ZERO_LO = 1;
/** Bits 32..55 of a host offset. */
export const OFFSET_MASK_HI = 0x00ffffff;
/** Bits 9..31 of a host offset. */
export const OFFSET_MASK_LO = 0xfffffe00;

export const L1_RESERVED_HI = 0x7f000000;
export const L1_RESERVED_LO = 0x1ff;
export const L2_RESERVED_HI = 0x3f000000;
export const L2_RESERVED_LO = 0x1fe;
export const REFTABLE_RESERVED_LO = 0x1ff;

export const TWO_32 = 0x1_0000_0000;
/** The unit of a disk's size, and of what a disk writes whole. */
export const SECTOR_BYTES = 512;
