// Ring indices, flags and events, which the driver reads and writes on another thread. Sequentially
// consistent in the build for shared memory; plain in the other, where there is one thread only.

export function load16(at: usize): u32 {
  return ASC_FEATURE_THREADS ? <u32>atomic.load<u16>(at) : <u32>load<u16>(at);
}

export function store16(at: usize, value: u32): void {
  if (ASC_FEATURE_THREADS) atomic.store<u16>(at, <u16>value);
  else store<u16>(at, <u16>value);
}

export function load32(at: usize): u32 {
  return ASC_FEATURE_THREADS ? atomic.load<u32>(at) : load<u32>(at);
}

export function store32(at: usize, value: u32): void {
  if (ASC_FEATURE_THREADS) atomic.store<u32>(at, value);
  else store<u32>(at, value);
}
