// Measures a queue's device side alone: pop, push, flush. The ring is filled once with reads; then
// avail.idx is moved on a batch at a time, and the queue is put back to its start after each lap, so
// that no guest's work is in the figure but one store a batch. Each worker runs one of the two queues,
// so that neither is compiled with the other in mind.

import { expose } from 'comlink';
import { BrowserHost } from '../../host/browser.ts';
import { DriverQueue } from '../../virtio/driver-queue.ts';
import { VIRTIO_BLK_S_OK, VIRTIO_BLK_T_IN } from '../../virtio/spec.ts';
import { SplitQueue } from '../../virtio/split-queue.ts';
import { REQ_HEAD, REQ_IN_BYTES, REQ_STATUS_ADDR, REQUEST_WORDS } from '../../virtio/virtqueue.ts';
import type { Virtqueue, VirtqueueConfig } from '../../virtio/virtqueue.ts';
import { instantiateQueueModule } from '../../virtio/wasm-module.ts';
import { QUEUE_SCRATCH_BYTES, WasmQueue } from '../../virtio/wasm-queue.ts';
import { BlockOffsets, READ_4K } from './workload.ts';
import type { Sample } from './rounds.ts';

const SIZE = 256;
const MAX_SEGMENTS = 16;
const WASM_PAGE = 65536;
const DISK_BYTES = 2 ** 30;
const RING_BYTES: number = DriverQueue.bytes(SIZE, MAX_SEGMENTS);
const RAM_BYTES: number = Math.ceil((RING_BYTES + SIZE * READ_4K.bytes) / WASM_PAGE) * WASM_PAGE;
/** Laps between two looks at the clock. */
const LAPS = 16;

const host = new BrowserHost();
const pages: number = (RAM_BYTES + QUEUE_SCRATCH_BYTES) / WASM_PAGE;
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
const config: VirtqueueConfig = fillRing();
const availIdx: Uint16Array = new Uint16Array(memory.buffer, config.avail + 2, 1);
let queue: Virtqueue | undefined;

const control = {
  run(kind: 'wasm' | 'typescript', batch: number, ns: number): Sample {
    queue ??= newQueue(kind);
    const start = host.now();
    let requests = 0;
    let now = start;
    while (now < start + ns) {
      for (let i = 0; i < LAPS; i++) lap(queue, batch);
      requests += LAPS * SIZE;
      now = host.now();
    }
    return { requests, ns: now - start };
  },
};

export type ParseControl = typeof control;

expose(control);

/** Fills the ring with one 4 KiB read an entry, each with an indirect table of three. */
function fillRing(): VirtqueueConfig {
  const driver = new DriverQueue({
    memory: new Uint8Array(memory.buffer, 0, RAM_BYTES),
    offset: 0,
    size: SIZE,
    maxSegments: MAX_SEGMENTS,
    eventIdx: true,
  });
  const blocks = new BlockOffsets(DISK_BYTES, READ_4K);
  for (let i = 0; i < SIZE; i++) {
    driver.submitOne(
      VIRTIO_BLK_T_IN,
      blocks.next(),
      RING_BYTES + i * READ_4K.bytes,
      READ_4K.bytes,
      i,
    );
  }
  driver.publish();
  return driver.config;
}

function newQueue(kind: 'wasm' | 'typescript'): Virtqueue {
  if (kind === 'typescript') {
    return new SplitQueue({ region: new Uint8Array(memory.buffer, 0, RAM_BYTES), config });
  }
  const module = instantiateQueueModule(memory);
  return new WasmQueue({
    module,
    ramBase: 0,
    ramSize: RAM_BYTES,
    scratch: RAM_BYTES,
    config,
  });
}

/** The whole ring, once, `batch` requests at a time, as a device under load takes them. */
function lap(ring: Virtqueue, batch: number): void {
  Atomics.store(availIdx, 0, 0);
  ring.restore([0, 0]);
  ring.disableNotification();
  for (let published = batch; published <= SIZE; published += batch) {
    Atomics.store(availIdx, 0, published);
    const n = ring.pop(batch);
    if (n !== batch) throw new Error(`popped ${n} of ${batch}: error ${ring.error}`);
    const table = ring.requests;
    for (let i = 0; i < n; i++) {
      const at = i * REQUEST_WORDS;
      const written = table[at + REQ_IN_BYTES]! + 1;
      ring.push(table[at + REQ_HEAD]!, written, table[at + REQ_STATUS_ADDR]!, VIRTIO_BLK_S_OK);
    }
    ring.flush();
  }
}
