// Where things lie in a queue's scratch region, and the protocol's numbers. The region belongs to
// us, not to the guest; src/virtio/wasm-queue.ts holds the same offsets.

// State, u32 each.
export const RAM_BASE: usize = 0; // address of guest-physical 0 in this memory
export const RAM_SIZE: usize = 4; // bytes
export const SIZE: usize = 8; // entries
export const DESC: usize = 12; // guest-physical
export const AVAIL: usize = 16; // addresses in this memory
export const USED: usize = 20;
export const FEATURES: usize = 24; // FEATURE_*
export const ERROR: usize = 28; // VQ_*
export const LAST_AVAIL: usize = 32;
export const SHADOW_AVAIL: usize = 36;
export const USED_IDX: usize = 40;
export const IN_FLIGHT: usize = 44;
export const FILLED: usize = 48; // used entries written and not published
export const NOTIFICATION: usize = 52; // 1: the driver's kicks are wanted
export const EVENT_WRITTEN: usize = 56; // what avail_event holds; NOTHING when not written yet
export const SIGNALLED_VALID: usize = 60;
// Of a packed ring. LAST_AVAIL and USED_IDX are slots with the wrap counter in bit 15; AVAIL and USED
// are the event suppression of driver and device.
export const RING: usize = 64; // address in this memory
export const SLOTS_IN_USE: usize = 68; // by the chains in flight
export const CHAIN_SLOTS: usize = 72; // of the chain that was parsed last
export const FILLED_SLOTS: usize = 76; // of the used entries that are not published
export const NEXT_USED: usize = 84; // where the next used entry goes
export const FIRST_FLAGS: usize = 80; // of the first used entry that is not published

// Tables.
export const REQUESTS: usize = 256;
export const REQUEST_BYTES: usize = 48;
export const MAX_BATCH: u32 = 128;
export const COMPLETIONS: usize = REQUESTS + <usize>MAX_BATCH * REQUEST_BYTES;
export const COMPLETION_BYTES: usize = 16; // head, written, address of the status, status
export const MAX_COMPLETIONS: usize = 512;
export const SEGMENTS: usize = COMPLETIONS + MAX_COMPLETIONS * COMPLETION_BYTES;
export const PAIR_BYTES: usize = 8; // guest-physical address, length
export const SEGMENT_PAIRS: u32 = 6144;
export const MAX_CHAIN: u32 = 1024;

export const NOTHING: u32 = 0xffffffff;
export const FEATURE_EVENT_IDX: u32 = 1;
export const FEATURE_INDIRECT: u32 = 2;

// Bytes in one request.
export const REQ_HEAD: usize = 0;
export const REQ_TYPE: usize = 4;
export const REQ_SECTOR: usize = 8; // u64
export const REQ_STATUS_ADDR: usize = 16;
export const REQ_OUT_FIRST: usize = 20;
export const REQ_OUT_COUNT: usize = 24;
export const REQ_OUT_BYTES: usize = 28;
export const REQ_IN_FIRST: usize = 32;
export const REQ_IN_COUNT: usize = 36;
export const REQ_IN_BYTES: usize = 40;

export const VQ_BAD_AVAIL_IDX: i32 = 1;
export const VQ_BAD_INDEX: i32 = 2;
export const VQ_LOOP: i32 = 3;
export const VQ_BAD_ADDRESS: i32 = 4;
export const VQ_ZERO_LENGTH: i32 = 5;
export const VQ_BAD_ORDER: i32 = 6;
export const VQ_BAD_INDIRECT: i32 = 7;
export const VQ_BAD_HEADER: i32 = 8;
export const VQ_TOO_MANY: i32 = 9;

// Virtio 1.2, 2.7. `tail` is the last word of a split descriptor: flags, then next.
export const DESC_BYTES: u32 = 16;
export const HEADER_BYTES: u32 = 16;
export const F_NEXT: u32 = 1;
export const F_WRITE: u32 = 2;
export const F_INDIRECT: u32 = 4;
// 2.8
export const F_AVAIL: u32 = 0x80;
export const F_USED: u32 = 0x8000;
export const WRAP: u32 = 0x8000; // the wrap counter in a slot's number
export const EVENT_DISABLE: u32 = 1;
export const EVENT_DESC: u32 = 2;
