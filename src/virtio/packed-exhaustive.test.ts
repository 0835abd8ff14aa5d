// All packed lists and indirect tables of up to three entries over an alphabet that reaches every
// rule, parsed by both queues in step and judged by the byte-wise model. A descriptor is varied only
// once a list reaches it.

import { describe, expect, it } from 'vitest';
import { compareRequest } from '../testing/chain-model.ts';
import {
  PackedRingBuilder,
  moveOn,
  packedConfig,
  type PackedDescriptor,
} from '../testing/packed-ring-builder.ts';
import { QueueTwins } from '../testing/queue-twins.ts';
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_USED,
} from './spec.ts';
import { VQ_ERRORS, VQ_OK, type VirtqueueConfig } from './virtqueue.ts';

const I = VIRTQ_DESC_F_INDIRECT;
const N = VIRTQ_DESC_F_NEXT;
const W = VIRTQ_DESC_F_WRITE;
const RAM = 1021;
const TABLE = 250; // unaligned on purpose
const SIZE = 3; // no power of two

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
  [512, 0],
  [2 ** 32 + 512, 16], // above 4 GiB
  [2 ** 32 - 16, 32], // the sum wraps at 32 bits
  [2 ** 64 - 2 ** 11, 2048 + 512], // and at 64
  [TABLE, 48], // an indirect table
  [TABLE, 24], // of a bad size
  [RAM - 24, 32], // across the end
];

const LETTERS: readonly PackedDescriptor[] = BUFFERS.flatMap(([address, length], i) =>
  [0, W, N, N | W, I, I | W, I | N].map((flags) => ({ address, length, id: 1000 * i, flags })),
);

class Judge {
  readonly twins: QueueTwins;
  readonly guest: PackedRingBuilder;
  readonly config: VirtqueueConfig;
  readonly seen = new Map<string, number>();
  /** The slot where each case starts, and its lap: so that lists go round the ring's end. */
  readonly #start: readonly [number, number];
  readonly #template: Uint8Array;
  readonly #list: PackedDescriptor[] = [];
  readonly #expected = new Uint8Array(RAM);
  cases = 0;

  constructor(config: VirtqueueConfig, shared: boolean, start: readonly [number, number]) {
    this.config = config;
    this.#start = start;
    this.twins = new QueueTwins(RAM, shared);
    this.guest = new PackedRingBuilder(this.twins.ram, config);
    for (let i = 512; i < RAM; i++) this.twins.ram[i] = i * 7;
    // What an indirect table holds unless the case says otherwise: NEXT means nothing in it.
    this.guest.describe(TABLE, { address: 640, length: 40, id: 9, flags: 0 });
    this.guest.describe(TABLE + 16, { address: 760, length: 4, id: 8, flags: N | W });
    this.guest.describe(TABLE + 32, { address: 700, length: 3, id: 7, flags: W | N });
    this.#template = this.twins.ram.slice();
  }

  /** Entry `index` of the list that starts at the start slot; the first one is made available. */
  entry(index: number, letter: PackedDescriptor): void {
    const [slot, wrap] = moveOn(this.#start, index, SIZE);
    const owner = wrap === 1 ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
    this.#list[index] = letter;
    this.guest.descriptor(slot, { ...letter, flags: letter.flags | owner });
  }

  /** One case: RAM as it is. */
  judge(): void {
    const { twins, guest, config } = this;
    const [slot, wrap] = this.#start;
    const model = guest.model(slot);
    this.#expected.set(twins.ram);
    twins.start(config);
    const position = slot | (wrap << 15);
    twins.restore([position, position]);
    const popped = twins.pop(1);
    if (typeof model === 'number') {
      if (popped !== 0 || twins.ts.error !== model) {
        throw new Error(`popped ${popped}, error ${twins.ts.error}, not ${model}`);
      }
    } else {
      const difference = popped === 1 ? compareRequest(twins.ts, 0, model) : 'not popped';
      if (difference !== '' || twins.ts.error !== VQ_OK) throw new Error(difference);
      twins.push(model.head, model.in.length + 1, model.statusAddr, 0);
      if (!twins.flush()) throw new Error('no interrupt');
      // A status may lie in the ring itself: the used entry is written after it.
      this.#expected[model.statusAddr] = 0;
      const expected = new PackedRingBuilder(this.#expected, config);
      expected.complete(this.#start, model.head & 0xffff, model.in.length + 1);
    }
    twins.compareRam(this.#expected);
    if (typeof model !== 'number') {
      // Takes back what the device wrote, for the next case.
      twins.ram.set(this.#template.subarray(TABLE), TABLE);
      this.#list.forEach((letter, index) => this.entry(index, letter));
    }
    const name = typeof model === 'number' ? VQ_ERRORS[model]! : 'a request';
    this.seen.set(name, (this.seen.get(name) ?? 0) + 1);
    this.cases += 1;
    if (this.cases % 20_000 === 0) twins.checkCanaries();
  }
}

const CHAIN_ERRORS = VQ_ERRORS.filter((_, error) => error >= 3 && error <= 8);

describe('all small packed rings', () => {
  it('parses lists in the ring, in shared memory', { timeout: 60_000 }, () => {
    const judge = new Judge(packedConfig(SIZE, 16), true, [2, 0]);
    const vary = (index: number): void => {
      for (const letter of LETTERS) {
        judge.entry(index, letter);
        const { address, length, flags } = letter;
        const goesOn = (flags & (N | I)) === N && length > 0 && address + length <= RAM;
        if (goesOn && index + 1 < SIZE) vary(index + 1);
        else judge.judge();
      }
    };
    vary(0);
    judge.twins.checkCanaries();
    expect([...judge.seen.keys()].sort()).toEqual(['a request', ...CHAIN_ERRORS].sort());
    expect([judge.cases, judge.seen.get('a request')]).toEqual([35_673, 1091]);
  });

  it('parses an indirect table, in memory that is not shared', { timeout: 60_000 }, () => {
    const judge = new Judge(packedConfig(SIZE, 16), false, [0, 1]);
    // Two entries in all variants, each also as the last: a table has no NEXT to end it early.
    for (const entries of [1, 2, 3]) {
      for (const first of LETTERS) {
        for (const second of entries > 1 ? LETTERS : [first]) {
          judge.entry(0, { address: TABLE, length: 16 * entries, id: 5, flags: I });
          judge.guest.describe(TABLE, first);
          if (entries > 1) judge.guest.describe(TABLE + 16, second);
          judge.judge();
        }
      }
    }
    judge.twins.checkCanaries();
    const loop = VQ_ERRORS[3]!;
    const errors = CHAIN_ERRORS.filter((error) => error !== loop);
    expect([...judge.seen.keys()].sort()).toEqual(['a request', ...errors].sort());
    expect([judge.cases, judge.seen.get('a request')]).toEqual([22_155, 644]);
  });

  it('refuses indirect tables where they were not negotiated', () => {
    const judge = new Judge(packedConfig(SIZE, 16, { indirect: false }), true, [0, 1]);
    let indirect = 0;
    for (const letter of LETTERS) {
      judge.entry(0, letter);
      judge.entry(1, { address: 700, length: 1, id: 0, flags: W });
      judge.judge();
      if ((letter.flags & I) !== 0) indirect += 1;
    }
    expect(judge.seen.get(VQ_ERRORS[7]!)).toBe(indirect);
  });
});
