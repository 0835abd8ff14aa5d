// The guest: several tasks that read, write, discard and flush one virtio-blk disk through a real ring,
// at a time and over one another, and tell the oracle of each step. It sees to it that every request
// is answered, once, and in time.

import { EventNotifier } from '../aio/event-notifier.ts';
import type { Prng } from '../testing/prng.ts';
import type { SimContext } from '../testing/sim-context.ts';
import type { SimWorld } from '../testing/sim-world.ts';
import { WAIT_MESSAGE } from '../virtio/device-channel.ts';
import type { TransportChannel } from '../virtio/transport-channel.ts';
import {
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from '../virtio/spec.ts';
import { VirtioBlkDriver } from '../virtio/virtio-blk-driver.ts';
import type { DiskOracle, Reading, Ticket } from './disk-oracle.ts';
import type { Asked, DiskPhase } from './disk-phase.ts';
import { OracleError } from './oracle-error.ts';
import { SECTOR, ZERO, fillSectors } from './sector-value.ts';
import type { RingKind } from './sim-rings.ts';

/** A request takes no longer than this, whatever storage, network and moves do; nanoseconds. */
const PATIENCE_NS = 300e9;
const DISCARD_SEGMENT = 16;
const ASKED: ReadonlyMap<number, Asked> = new Map([
  [VIRTIO_BLK_T_IN, 'read'],
  [VIRTIO_BLK_T_DISCARD, 'discard'],
  [VIRTIO_BLK_T_FLUSH, 'flush'],
]);
/** Answered by a reset rather than by the device. */
const RESET = -1;

export interface GuestParts {
  readonly world: SimWorld;
  readonly vcpu: SimContext;
  readonly channel: TransportChannel;
  readonly rings: RingKind;
  readonly oracle: DiskOracle;
  readonly phase: DiskPhase;
  /** Bytes that it works on at a time, preferably. */
  readonly cluster: number;
  /** Whether a request that failed may have failed. */
  readonly mayFail: () => boolean;
  readonly count: (kind: string) => void;
  /** Has the power fail a few events from now. */
  readonly cutSoon: () => void;
}

export class SimGuest {
  readonly #parts: GuestParts;
  readonly #prng: Prng;
  #driver: VirtioBlkDriver | undefined;
  #kick: EventNotifier | undefined;
  readonly #waiting = new Map<number, (status: number) => void>();
  /** Tasks that wait for room in the ring. */
  #full: (() => void)[] = [];
  #resetting = false;
  #limit = Infinity;
  /** Requests under way, and the shortest that the disk may have been meanwhile. */
  readonly #asked = new Set<{ sectors: number }>();
  #leftBehind: Ticket[] = [];
  #writes = 2;
  #requests = 0;

  constructor(parts: GuestParts) {
    this.#parts = parts;
    this.#prng = parts.world.prng;
  }

  /** Another thread serves the device from now on: `doorbell` is what it sleeps on. */
  served(doorbell: Int32Array): void {
    const { channel } = this.#parts;
    this.#kick = new EventNotifier(channel.words, channel.kickIndex(0), doorbell);
    this.#kick.set();
  }

  /** The disk may be shorter soon: stays below `sectors`. */
  limit(sectors: number): void {
    this.#limit = sectors;
    for (const asked of this.#asked) asked.sectors = Math.min(asked.sectors, sectors);
  }

  /** What was left behind by resets; whoever takes it sees to it that the device comes to rest. */
  takeLeftBehind(): readonly Ticket[] {
    return this.#leftBehind.splice(0);
  }

  /** Their end is still to come. */
  giveBack(tickets: readonly Ticket[]): void {
    this.#leftBehind.push(...tickets);
  }

  /** Sets the device up. */
  start(): void {
    const { channel, rings } = this.#parts;
    const { ram: memory, layout, newDriverQueue: newQueue } = rings;
    channel.setWaiting(WAIT_MESSAGE);
    const ring = (): void => this.#kick?.set();
    this.#driver = new VirtioBlkDriver({ memory, layout, channel, newQueue, ring });
  }

  /** Runs `tasks` tasks of `requests` requests each; throws what is wrong. */
  async run(tasks: number, requests: number): Promise<void> {
    const task = async (): Promise<void> => {
      for (let left = requests; left > 0; left--) {
        const thought = this.#prng.pick([0, 0, 0, 1000, 200_000, 5e6]);
        if (thought > 0) await this.#parts.vcpu.sleep(thought);
        await this.#anything();
      }
    };
    await Promise.all(Array.from({ length: tasks }, task));
  }

  /**
   * Writes near the start and near the end of the disk, by turns, one after the other: who reads one end before the
   * other sees an order that never was. Ends when `goesOn` says so, or after a while.
   */
  async alternate(goesOn: () => boolean): Promise<void> {
    const { oracle, vcpu } = this.#parts;
    for (let turn = 0; turn < 16 && goesOn(); turn++) {
      const pause = this.#prng.pick([0, 0, 0, 200_000, 1e6]);
      if (pause > 0) await vcpu.sleep(pause);
      const sectors = Math.min(oracle.sectors, this.#limit);
      const quarter = this.#prng.below(Math.ceil(sectors / 4));
      await this.#write({ first: turn % 2 === 0 ? quarter : sectors - 1 - quarter, count: 1 });
    }
  }

  /** Interrupt. */
  called(): void {
    const driver = this.#driver;
    if (driver === undefined) return;
    do {
      driver.reap((slot, status) => {
        const answer = this.#waiting.get(slot);
        if (answer === undefined) throw new OracleError(`request ${slot} was answered twice`);
        this.#waiting.delete(slot);
        answer(status);
      });
      if (driver.broken) throw new OracleError('the device answered what nobody asked');
    } while (driver.enableCalls());
    for (const resume of this.#full.splice(0)) resume();
  }

  /** Resets the device with all that is in flight, and sets it up again. */
  async reset(): Promise<void> {
    if (this.#resetting) return;
    this.#resetting = true;
    const { channel, vcpu, count } = this.#parts;
    this.#driver = undefined;
    channel.reset();
    this.#kick?.set();
    const began = vcpu.now();
    // Less and less often: storage may stall for seconds.
    for (let pause = 50_000; !channel.settled; pause = Math.min(2 * pause, 50e6)) {
      await vcpu.sleep(pause);
      if (vcpu.now() - began > PATIENCE_NS) throw new OracleError('a reset was not taken over');
    }
    const lost = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#resetting = false;
    this.start();
    count('guest reset');
    for (const answer of lost) answer(RESET);
    for (const resume of this.#full.splice(0)) resume();
  }

  async #anything(): Promise<void> {
    const dice = this.#prng.below(100);
    if (dice < 45) return this.#write();
    if (dice < 75) return this.#read();
    if (dice < 83) return this.#zero(VIRTIO_BLK_T_WRITE_ZEROES);
    if (dice < 90) return this.#zero(VIRTIO_BLK_T_DISCARD);
    return this.#flush();
  }

  /** First sector and count of something: often whole clusters, often where others are at work. */
  #range(): { first: number; count: number } {
    const { oracle, cluster } = this.#parts;
    const sectors = Math.min(oracle.sectors, this.#limit);
    const step = this.#prng.chance(50) ? 1 : cluster / SECTOR;
    const hot = this.#prng.chance(60) ? Math.min(sectors, (8 * cluster) / SECTOR) : sectors;
    const first = this.#prng.below(Math.ceil(hot / step)) * step;
    const count = this.#prng.pick([1, 1, 2, cluster / SECTOR, (2 * cluster) / SECTOR]);
    return { first, count: Math.min(count, sectors - first, 64) };
  }

  #write({ first, count } = this.#range()): Promise<void> {
    const { oracle } = this.#parts;
    const value = this.#writes++;
    const data = new Uint8Array(count * SECTOR);
    fillSectors(data, first, value);
    const begin = (): Ticket => oracle.write(first, count, value);
    return this.#change(`write ${value}`, VIRTIO_BLK_T_OUT, first, count, first, data, begin);
  }

  #zero(type: number): Promise<void> {
    const { oracle } = this.#parts;
    const { first, count } = this.#range();
    const discards = type === VIRTIO_BLK_T_DISCARD;
    const segment = new Uint8Array(DISCARD_SEGMENT);
    const view = new DataView(segment.buffer);
    view.setUint32(0, first, true);
    view.setUint32(8, count, true);
    if (!discards) view.setUint32(12, this.#prng.below(2), true);
    const begin = (): Ticket =>
      discards ? oracle.discard(first, count) : oracle.write(first, count, ZERO);
    return this.#change(discards ? 'discard' : 'zeroes', type, first, count, 0, segment, begin);
  }

  async #change(
    what: string,
    type: number,
    first: number,
    count: number,
    sector: number,
    data: Uint8Array,
    begin: () => Ticket,
  ): Promise<void> {
    await this.#request(
      `${what} at ${first}+${count}`,
      type,
      sector,
      data,
      first + count,
      begin,
      (ticket, status) => {
        // Nobody knows when what a reset left behind takes effect.
        if (status === RESET) this.#leftBehind.push(ticket);
        else this.#parts.oracle.over(ticket, status === VIRTIO_BLK_S_OK);
      },
    );
    this.#parts.count(what.split(' ')[0]!);
  }

  async #read(): Promise<void> {
    const { oracle } = this.#parts;
    const { first, count } = this.#range();
    const data = new Uint8Array(count * SECTOR).fill(0xee);
    const begin = (): Reading => oracle.reads(first, count);
    const label = `read at ${first}+${count}`;
    await this.#request(
      label,
      VIRTIO_BLK_T_IN,
      first,
      data,
      first + count,
      begin,
      (reading, status) => {
        oracle.read(reading, status === VIRTIO_BLK_S_OK ? data : undefined);
      },
    );
    this.#parts.count('read');
  }

  async #flush(): Promise<void> {
    const { oracle, cutSoon } = this.#parts;
    const none = new Uint8Array(0);
    if (this.#prng.chance(10)) cutSoon();
    await this.#request(
      'flush',
      VIRTIO_BLK_T_FLUSH,
      0,
      none,
      0,
      () => oracle.now,
      (began, status) => {
        if (status === VIRTIO_BLK_S_OK) oracle.flushed(began);
      },
    );
    this.#parts.count('flush');
  }

  /** One request, of sectors below `last`, from `begin`, when it is shown to the device, to `end`, when it is answered. */
  async #request<T>(
    label: string,
    type: number,
    sector: number,
    data: Uint8Array,
    last: number,
    begin: () => T,
    end: (begun: T, status: number) => void,
  ): Promise<void> {
    const { world, vcpu } = this.#parts;
    const { driver, slot } = await this.#reserve(data.length);
    const number = ++this.#requests;
    const { phase } = this.#parts;
    const mark = phase.mark();
    const asked = vcpu.now();
    world.note(`#${number} ${label}`);
    driver.put(slot, 0, data);
    const begun = begin();
    const range = { sectors: Math.min(this.#parts.oracle.sectors, this.#limit) };
    this.#asked.add(range);
    driver.submit(slot, type, sector * SECTOR);
    const answered = new Promise<number>((resolve) => {
      this.#waiting.set(slot, (status) => {
        if (type === VIRTIO_BLK_T_IN && status === VIRTIO_BLK_S_OK) driver.get(slot, 0, data);
        world.note(`#${number} is answered ${status}`);
        end(begun, status);
        resolve(status);
      });
    });
    driver.kick();
    if (driver.enableCalls()) this.called();
    const status = await answered;
    this.#asked.delete(range);
    const took = vcpu.now() - asked;
    if (took > PATIENCE_NS) throw new OracleError(`#${number} took ${took / 1e9} seconds`);
    const fails = phase.fails(mark, ASKED.get(type) ?? 'change');
    if (status === VIRTIO_BLK_S_OK && fails === 'must') {
      throw new OracleError(`#${number} ${label} went well, but the disk is ${phase.now}`);
    }
    if (status > VIRTIO_BLK_S_OK) {
      this.#parts.count('failed request');
      // One that lies past the end of a disk that was cut meanwhile.
      const outside = last > Math.min(this.#parts.oracle.sectors, range.sectors);
      if (fails === 'must not' && !outside && !this.#parts.mayFail()) {
        throw new OracleError(`#${number} ${label}: status ${status}, but nothing failed below`);
      }
    }
  }

  /** A free slot of the ring, when there is one. */
  async #reserve(bytes: number): Promise<{ driver: VirtioBlkDriver; slot: number }> {
    for (;;) {
      const driver = this.#driver;
      const slot = driver?.reserve(bytes) ?? -1;
      if (driver !== undefined && slot !== -1) return { driver, slot };
      await new Promise<void>((resolve) => this.#full.push(resolve));
    }
  }
}
