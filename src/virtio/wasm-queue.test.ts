// What is WebAssembly's own: the module has no data, memory grows, addresses beyond 2 GiB, and a
// guest that rewrites its descriptors on another thread while they are parsed.

import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { QUEUE_CODES, queueCode } from '../testing/queue-codes.ts';
import { RingBuilder, ringConfig } from '../testing/ring-builder.ts';
import { SplitQueue } from './split-queue.ts';
import {
  REQ_IN_BYTES,
  REQ_IN_COUNT,
  REQ_IN_FIRST,
  REQ_OUT_BYTES,
  REQ_OUT_COUNT,
  REQ_OUT_FIRST,
  REQ_STATUS_ADDR,
  REQ_TYPE,
  REQUEST_WORDS,
  VQ_OK,
  type Virtqueue,
} from './virtqueue.ts';
import { instantiateQueueModule, queueModuleBytes } from './wasm-module.ts';
import { QUEUE_SCRATCH_BYTES, WasmQueue } from './wasm-queue.ts';

const PAGE = 65_536;

/** The ids of a WebAssembly module's sections, in order. */
function sections(module: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < module.length;) {
    ids.push(module[at]!);
    at += 1;
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at]!;
      at += 1;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    at += size;
  }
  return ids;
}

describe.each(QUEUE_CODES)('the module, packed: $packed, shared: $shared', (code) => {
  const { shared } = code;

  it('has code only: neither data nor a start function, which would touch guest memory', () => {
    const bytes = queueModuleBytes(code);
    // Types, imports, functions, exports, code.
    expect(sections(bytes)).toEqual([1, 2, 3, 7, 10]);
    expect(bytes.length).toBeLessThan(4096);
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(bytes));
    expect(imports).toEqual([{ module: 'env', name: 'memory', kind: 'memory' }]);
  });

  it('leaves memory as it is', () => {
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared });
    const bytes = new Uint8Array(memory.buffer).fill(0xc5);
    instantiateQueueModule(memory, code);
    expect(bytes.every((byte) => byte === 0xc5)).toBe(true);
  });

  it('takes no memory of the other kind', () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: !shared });
    const module = new WebAssembly.Module(queueModuleBytes(code));
    expect(() => new WebAssembly.Instance(module, { env: { memory } })).toThrow('shared');
  });
});

describe.each([true, false])('a queue, shared: %s', (shared) => {
  it('goes on when memory grows at any moment', () => {
    // Memory that is not shared may have no maximum.
    const memory = new WebAssembly.Memory(
      shared ? { initial: 2, maximum: 40, shared } : { initial: 2 },
    );
    const config = ringConfig(4, 0);
    const queue = new WasmQueue({
      module: instantiateQueueModule(memory, queueCode(false, shared)),
      ramBase: 0,
      ramSize: PAGE,
      scratch: PAGE,
      config,
    });
    const guest = (): RingBuilder => {
      const ring = new RingBuilder(new Uint8Array(memory.buffer, 0, PAGE), config);
      ring.header(4096, 1, 5);
      ring.descriptor(0, { address: 4096, length: 16, flags: 1, next: 1 });
      ring.descriptor(1, { address: 8192, length: 9, flags: 2, next: 0 });
      return ring;
    };
    for (let round = 0; round < 4; round++) {
      guest().offer(0);
      if (round !== 0) memory.grow(1);
      expect(queue.pop(4)).toBe(1);
      if (round !== 1) memory.grow(1);
      expect(queue.requests[REQ_STATUS_ADDR]).toBe(8200);
      expect(queue.segments[2 * queue.requests[REQ_IN_FIRST]!]).toBe(8192);
      if (round !== 2) memory.grow(1);
      queue.push(0, 9, 8200, 3);
      if (round !== 3) memory.grow(1);
      expect(queue.flush()).toBe(true);
      memory.grow(1);
      expect([queue.error, queue.inFlight]).toEqual([VQ_OK, 0]);
      expect(guest().usedIdx).toBe(round + 1);
      expect(guest().usedElement(round)).toEqual([0, 9]);
      expect(new Uint8Array(memory.buffer)[8200]).toBe(3);
    }
  });
});

it('serves several queues on one memory', () => {
  const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
  const module = instantiateQueueModule(memory);
  const ram = new Uint8Array(memory.buffer, 0, PAGE);
  const made = [0, 1, 2].map((index) => {
    const config = ringConfig(4, 1024 * index);
    const ring = new RingBuilder(ram, config);
    ring.header(8192 + 64 * index, index, 5);
    ring.descriptor(0, { address: 8192 + 64 * index, length: 16, flags: 1, next: 1 });
    ring.descriptor(1, { address: 4096 + index, length: 1, flags: 2, next: 0 });
    ring.offer(0);
    const scratch = PAGE * (index + 1);
    return new WasmQueue({ module, ramBase: 0, ramSize: PAGE, scratch, config });
  });
  expect(made.map((queue) => queue.pop(4))).toEqual([1, 1, 1]);
  expect(made.map((queue) => queue.requests[REQ_TYPE])).toEqual([0, 1, 2]);
});

it('reaches guest memory and scratch above 2 GiB', () => {
  const ramSize = 2 ** 31 + 3 * PAGE;
  const pages = (ramSize + QUEUE_SCRATCH_BYTES) / PAGE + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const config = ringConfig(4, 2 ** 31, { eventIdx: true });
  const high = 2 ** 31 + PAGE;
  const ram = new Uint8Array(memory.buffer, PAGE, ramSize);
  const ring = new RingBuilder(ram, config);
  ring.header(high, 1, 9);
  ring.descriptor(0, { address: high, length: 16, flags: 1, next: 1 });
  ring.descriptor(1, { address: high + 64, length: 65, flags: 2, next: 0 });
  ring.descriptor(2, { address: ramSize - 16, length: 17, flags: 1, next: 1 });
  ring.offer(0);
  const module = instantiateQueueModule(memory, queueCode(false, false));
  const scratch = PAGE + ramSize;
  const queues = [
    new WasmQueue({ module, ramBase: PAGE, ramSize, scratch, config }),
    new SplitQueue({ region: ram, config }),
  ];
  for (const queue of queues) {
    expect(queue.pop(4)).toBe(1);
    expect(queue.requests[REQ_STATUS_ADDR]).toBe(high + 128);
    const first = queue.requests[REQ_IN_FIRST]!;
    expect([...queue.segments.subarray(2 * first, 2 * first + 2)]).toEqual([high + 64, 64]);
    ram[high + 128] = 0xff;
    ring.usedIdx = 0;
    queue.push(0, 65, high + 128, 0);
    expect(queue.flush()).toBe(true);
    expect([ram[high + 128], ring.usedIdx]).toEqual([0, 1]);
    expect(ring.usedElement(0)).toEqual([0, 65]);
  }
  ring.offer(2);
  expect(queues.map((queue) => [queue.pop(4), queue.error])).toEqual([
    [0, 4],
    [0, 4],
  ]);
});

it('takes scratch inside guest memory, or outside the memory, for a bug of ours', () => {
  const memory = new WebAssembly.Memory({ initial: 3 });
  const module = instantiateQueueModule(memory, queueCode(false, false));
  const config = ringConfig(4, 0);
  const make = (scratch: number) => () =>
    new WasmQueue({ module, ramBase: 0, ramSize: PAGE + 1, scratch, config });
  expect(make(PAGE)).toThrow('overlaps');
  expect(make(3 * PAGE)).toThrow('outside');
  expect(make(2 * PAGE)).not.toThrow();
});

describe('a guest that writes while the queue reads', () => {
  const RAM = PAGE;
  const RINGS = ringConfig(16, 0);
  const TABLE = 4096;
  const ENTRIES = 8;

  // Scribbles over the ring's own table and an indirect one until told to stop (word 0 of `flags`).
  const scribbler = `
    const { workerData } = require('node:worker_threads');
    const { memory, flags, tables } = workerData;
    const words = new Uint32Array(memory.buffer);
    let state = 1;
    const random = (n) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    };
    Atomics.store(flags, 1, 1);
    while (Atomics.load(flags, 0) === 0) {
      const [start, entries] = tables[random(2)];
      const at = start / 4 + 4 * random(entries);
      words[at] = random(8) === 0 ? random(2 ** 32) : 8192 + random(50000);
      words[at + 1] = random(20) === 0 ? random(3) : 0;
      words[at + 2] = random(8) === 0 ? random(2 ** 32) : 16 * (1 + random(8));
      words[at + 3] = (random(entries + 1) << 16) | random(random(4) === 0 ? 8 : 4);
    }`;

  /** Everything that a request names is inside RAM, and adds up. */
  function check(queue: Virtqueue, index: number): boolean {
    const at = index * REQUEST_WORDS;
    const word = (w: number): number => queue.requests[at + w]!;
    const side = (first: number, count: number, bytes: number): boolean => {
      let sum = 0;
      for (let i = first; i < first + count; i++) {
        const address = queue.segments[2 * i]!;
        const length = queue.segments[2 * i + 1]!;
        if (length === 0 || address + length > RAM) return false;
        sum += length;
      }
      return sum === bytes;
    };
    return (
      word(REQ_STATUS_ADDR) < RAM &&
      side(word(REQ_OUT_FIRST), word(REQ_OUT_COUNT), word(REQ_OUT_BYTES)) &&
      side(word(REQ_IN_FIRST), word(REQ_IN_COUNT), word(REQ_IN_BYTES))
    );
  }

  it.each(['wasm', 'TypeScript'])(
    'reaches nothing outside RAM: %s',
    { timeout: 60_000 },
    async (kind) => {
      const memory = new WebAssembly.Memory({ initial: 3, maximum: 3, shared: true });
      const bytes = new Uint8Array(memory.buffer).fill(0xc5);
      const region = bytes.subarray(0, RAM).fill(0);
      const module = instantiateQueueModule(memory);
      const flags = new Int32Array(new SharedArrayBuffer(8));
      const tables = [
        [RINGS.desc, RINGS.size],
        [TABLE, ENTRIES],
      ];
      const worker = new Worker(scribbler, { eval: true, workerData: { memory, flags, tables } });
      try {
        await expect.poll(() => Atomics.load(flags, 1), { timeout: 20_000 }).toBe(1);
        let requests = 0;
        let errors = 0;
        const enough = kind === 'wasm' ? 1000 : 100;
        const end = performance.now() + 20_000;
        while ((requests < enough || errors < enough) && performance.now() < end) {
          region.fill(0, RINGS.avail, TABLE);
          const ring = new RingBuilder(region, RINGS);
          for (let head = 0; head < 16; head++) ring.offer(head);
          const queue =
            kind === 'wasm'
              ? new WasmQueue({
                  module,
                  ramBase: 0,
                  ramSize: RAM,
                  scratch: 2 * PAGE,
                  config: RINGS,
                })
              : new SplitQueue({ region, config: RINGS });
          const count = queue.pop(16);
          for (let i = 0; i < count; i++) {
            if (!check(queue, i)) throw new Error('a segment lies outside RAM or is empty');
          }
          requests += count;
          if (queue.error !== VQ_OK) errors += 1;
        }
        expect([requests >= enough, errors >= enough]).toEqual([true, true]);
        expect(bytes.subarray(RAM, 2 * PAGE).every((byte) => byte === 0xc5)).toBe(true);
      } finally {
        Atomics.store(flags, 0, 1);
        await worker.terminate();
      }
    },
  );
});
