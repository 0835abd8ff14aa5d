// All descriptor tables of up to three entries over an alphabet that reaches every rule, parsed by
// both queues in step and judged by the byte-wise model. A descriptor is varied only once a chain
// reaches it, which is what makes "all" few enough.

import { describe, expect, it } from 'vitest';
import { compareRequest, modelChain } from '../testing/chain-model.ts';
import { QueueTwins } from '../testing/queue-twins.ts';
import { RingBuilder, ringConfig, type Descriptor } from '../testing/ring-builder.ts';
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './spec.ts';
import { VQ_BAD_INDIRECT, VQ_ERRORS, VQ_OK, type VirtqueueConfig } from './virtqueue.ts';

const I = VIRTQ_DESC_F_INDIRECT;
const N = VIRTQ_DESC_F_NEXT;
const W = VIRTQ_DESC_F_WRITE;
const RAM = 1021;
const TABLE = 250; // unaligned on purpose
const ENTRIES = 3;

/** [address, length] */
const BUFFERS: readonly (readonly [number, number])[] = [
  [512, 16], // a header
  [528, 16], // touches it
  [512, 7], // less than a header
  [519, 9], // the rest of it
  [640, 40], // header and data
  [700, 1],
  [RAM - 8, 8], // up to the end
  [RAM - 7, 8], // across it
  [RAM, 1], // behind it
  [512, 0],
  [2 ** 32 + 512, 16], // above 4 GiB
  [2 ** 32 - 16, 32], // the sum wraps at 32 bits
  [2 ** 64 - 2 ** 11, 2048 + 512], // and at 64
  [TABLE, 16 * ENTRIES], // an indirect table
  [TABLE, 24], // of a bad size
  [RAM - 24, 32], // across the end
];

/** A descriptor at `index` of `entries`, in all variants; loops, and `next` behind the table. */
function letters(entries: number): Descriptor[] {
  const all: Descriptor[] = [];
  for (const [address, length] of BUFFERS) {
    for (const flags of [0, W, I, I | W, I | N]) all.push({ address, length, flags, next: 1 });
    for (const flags of [N, N | W]) {
      for (const next of [0, 1, 2, entries]) all.push({ address, length, flags, next });
    }
  }
  return all;
}

/** Calls `visit` for each table that differs in what the chain from entry 0 reads. */
function enumerate(
  entries: number,
  assign: (index: number, letter: Descriptor) => void,
  visit: () => void,
): void {
  const alphabet = letters(entries);
  const assigned = new Array<boolean>(entries + 1).fill(false);
  const vary = (index: number): void => {
    assigned[index] = true;
    for (const letter of alphabet) {
      assign(index, letter);
      const { address, length, flags, next } = letter;
      const goesOn = (flags & N) !== 0 && (flags & I) === 0 && length > 0;
      if (goesOn && address + length <= RAM && next < ENTRIES && !assigned[next]) vary(next);
      else visit();
    }
    assigned[index] = false;
  };
  vary(0);
}

class Judge {
  readonly twins: QueueTwins;
  readonly guest: RingBuilder;
  readonly config: VirtqueueConfig;
  readonly seen = new Map<string, number>();
  cases = 0;
  #expected = new Uint8Array(RAM);

  constructor(config: VirtqueueConfig, shared: boolean) {
    this.config = config;
    this.twins = new QueueTwins(RAM, shared);
    this.guest = new RingBuilder(this.twins.ram, config);
    for (let i = 512; i < RAM; i++) this.twins.ram[i] = i * 7;
    // What an indirect table holds unless the case says otherwise: a header, and a status.
    this.guest.describe(TABLE, { address: 640, length: 40, flags: N, next: 2 });
    this.guest.describe(TABLE + 32, { address: 700, length: 3, flags: W, next: 0 });
    this.guest.offer(0);
    this.twins.start(config);
  }

  /** One case: RAM as it is, chain 0 on offer. */
  judge(): void {
    const { twins, guest, config } = this;
    const model = modelChain(twins.ram, config, 0);
    this.#expected.set(twins.ram);
    twins.start(config);
    const popped = twins.pop(4);
    if (typeof model === 'number') {
      if (popped !== 0 || twins.ts.error !== model) {
        throw new Error(`popped ${popped}, error ${twins.ts.error}, not ${model}`);
      }
    } else {
      const difference = popped === 1 ? compareRequest(twins.ts, 0, model) : 'not popped';
      if (difference !== '' || twins.ts.error !== VQ_OK) throw new Error(difference);
      twins.push(0, model.in.length + 1, model.statusAddr, 0);
      if (!twins.flush()) throw new Error('no interrupt');
      const expected = new RingBuilder(this.#expected, config);
      expected.complete(0, model.in.length + 1);
      this.#expected[model.statusAddr] = 0;
    }
    twins.compareRam(this.#expected);
    if (typeof model !== 'number') this.#restore(guest, model.statusAddr);
    const name = typeof model === 'number' ? VQ_ERRORS[model]! : 'a request';
    this.seen.set(name, (this.seen.get(name) ?? 0) + 1);
    this.cases += 1;
    if (this.cases % 20_000 === 0) twins.checkCanaries();
  }

  /** Takes back what the device wrote, for the next case. */
  #restore(guest: RingBuilder, statusAddr: number): void {
    guest.usedIdx = 0;
    this.twins.ram.fill(0, this.config.used + 4, this.config.used + 12);
    if (statusAddr >= 512) this.twins.ram[statusAddr] = statusAddr * 7;
  }
}

const ALL_CHAIN_ERRORS = VQ_ERRORS.filter((_, error) => error >= 2 && error <= 8);

describe('all small tables', () => {
  it('parses the ring’s own table, in shared memory', { timeout: 60_000 }, () => {
    const judge = new Judge(ringConfig(4, 16), true);
    const template = judge.twins.ram.slice();
    enumerate(
      4,
      (index, letter) => judge.guest.descriptor(index, letter),
      () => {
        judge.judge();
        // A status byte may have hit the indirect table.
        judge.twins.ram.set(template.subarray(TABLE, TABLE + 48), TABLE);
      },
    );
    judge.twins.checkCanaries();
    expect([...judge.seen.keys()].sort()).toEqual(['a request', ...ALL_CHAIN_ERRORS].sort());
    expect([judge.cases, judge.seen.get('a request')]).toEqual([141_796, 2540]);
  });

  it('parses an indirect table, in memory that is not shared', { timeout: 60_000 }, () => {
    const judge = new Judge(ringConfig(4, 16), false);
    const table: Descriptor[] = [];
    judge.guest.descriptor(0, { address: TABLE, length: 16 * ENTRIES, flags: I, next: 0 });
    enumerate(
      ENTRIES,
      (index, letter) => void (table[index] = letter),
      () => {
        table.forEach((letter, index) => judge.guest.describe(TABLE + 16 * index, letter));
        judge.judge();
      },
    );
    judge.twins.checkCanaries();
    expect([...judge.seen.keys()].sort()).toEqual(['a request', ...ALL_CHAIN_ERRORS].sort());
    expect([judge.cases, judge.seen.get('a request')]).toEqual([141_796, 2178]);
  });

  it('refuses indirect tables where they were not negotiated', () => {
    const judge = new Judge(ringConfig(4, 16, { indirect: false }), true);
    let indirect = 0;
    for (const letter of letters(4)) {
      judge.guest.descriptor(0, letter);
      judge.judge();
      if ((letter.flags & I) !== 0) indirect += 1;
    }
    expect(judge.seen.get(VQ_ERRORS[VQ_BAD_INDIRECT]!)).toBe(indirect);
  });
});
