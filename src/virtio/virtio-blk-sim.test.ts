import { describe, expect, it } from 'vitest';
import { EventNotifier } from '../aio/event-notifier.ts';
import type { EventHandler } from '../aio/aio-context.ts';
import type { IOVector } from '../base/io-vector.ts';
import { OK } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { BlockBackend } from '../block/block-backend.ts';
import { ANY_RANGE } from '../block/block-driver.ts';
import type { DriverState } from '../block/block-driver.ts';
import { BlockNode } from '../block/block-node.ts';
import type { SimContext } from '../testing/sim-context.ts';
import { STORAGE } from '../testing/sim-latency.ts';
import { SimFailure, SimWorld } from '../testing/sim-world.ts';
import { WAIT_MESSAGE } from './device-channel.ts';
import { TransportChannel } from './transport-channel.ts';
import { VIRTIO_BLK_S_OK, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT } from './spec.ts';
import { SplitQueue } from './split-queue.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { VirtioBlkDriver } from './virtio-blk-driver.ts';
import { VQ_ERRORS } from './virtqueue.ts';

const LAYOUT = VirtioBlkDriver.layout(16, 32);
const SECTORS = 64;

/** Storage that answers at once or, mostly, when the seed says. */
class LateDisk implements DriverState {
  readonly limits = ANY_RANGE;
  readonly #bytes = new Uint8Array(512 * SECTORS);
  readonly #thread: SimContext;
  readonly #world: SimWorld;

  constructor(world: SimWorld, thread: SimContext) {
    this.#world = world;
    this.#thread = thread;
  }
  get length(): number {
    return this.#bytes.length;
  }
  preadv(offset: number, qiov: IOVector): MaybeRet {
    return this.#answer('preadv', () => qiov.copyFrom(this.#bytes, offset, 0, qiov.size));
  }
  pwritev(offset: number, qiov: IOVector): MaybeRet {
    return this.#answer('pwritev', () => qiov.copyTo(this.#bytes, offset));
  }
  async close(): Promise<void> {}

  #answer(label: string, work: () => void): MaybeRet {
    const done = (): Ret => {
      work();
      return OK;
    };
    if (this.#world.prng.chance(30)) return done();
    return this.#thread.completion(label, STORAGE).then(done);
  }
}

/** A guest on one thread, its device on another. */
function machine(world: SimWorld, change: (handler: EventHandler) => EventHandler) {
  const [vcpu, io] = [world.newContext('vcpu'), world.newContext('io')];
  const channel = new TransportChannel(new SharedArrayBuffer(TransportChannel.bytes(1)), 1);
  const ram = new Uint8Array(new SharedArrayBuffer(LAYOUT.ramBytes));
  const watch = io.setEventNotifier.bind(io);
  io.setEventNotifier = (notifier, handler) => watch(notifier, handler && change(handler));
  const state = new LateDisk(world, io);
  const parts = { name: 'disk', driver: 'late', kind: 'protocol' as const, children: [] };
  const node = new BlockNode({ ...parts, context: io, state, readOnly: false });
  let called = (): void => {};
  new VirtioBlk({
    id: 'vda',
    context: io,
    backend: new BlockBackend({ name: 'drive', context: io, root: node }),
    channel,
    doorbell: io.doorbell,
    ram,
    newQueue: (_index, config) => new SplitQueue({ region: ram, config }),
    serial: 'sim',
    onError: (operation, ret) => world.reportBug(new Error(`${operation}: ${ret}`)),
    onBroken: (reason) => world.reportBug(new Error(VQ_ERRORS[reason])),
    sendCall: () => vcpu.post('interrupt', () => called()),
  });
  const kick = new EventNotifier(channel.words, channel.kickIndex(0), io.doorbell);
  const driver = new VirtioBlkDriver({
    memory: ram,
    layout: LAYOUT,
    channel,
    ring: () => kick.set(),
  });
  channel.setWaiting(WAIT_MESSAGE);
  const waiting = new Map<number, (status: number) => void>();
  called = (): void => {
    do driver.reap((slot, status) => waiting.get(slot)!(status));
    while (driver.enableCalls());
  };
  const request = async (type: number, sector: number, data: Uint8Array): Promise<void> => {
    const slot = driver.reserve(512);
    driver.put(slot, 0, data);
    driver.submit(slot, type, 512 * sector);
    driver.kick();
    if (driver.enableCalls()) called();
    const status = await new Promise<number>((resolve) => {
      waiting.set(slot, (answer) => {
        if (type === VIRTIO_BLK_T_IN) driver.get(slot, 0, data);
        resolve(answer);
      });
    });
    expect(status).toBe(VIRTIO_BLK_S_OK);
  };
  return { vcpu, io, request };
}

/** Several readers and writers, each of sectors of its own; thinking time up to seconds. */
async function guest(seed: number, change: (handler: EventHandler) => EventHandler): Promise<void> {
  const world = new SimWorld({ seed, maxEvents: 20_000 });
  const { prng } = world;
  const { vcpu, request } = machine(world, change);
  const worker = async (index: number): Promise<void> => {
    for (let round = 0; round < 6; round++) {
      const sector = index + 8 * prng.below(8);
      const data = prng.bytes(512);
      await request(VIRTIO_BLK_T_OUT, sector, data);
      const thought = prng.pick([0, 1000, 100_000, 8e9]);
      if (thought > 0) await vcpu.sleep(thought);
      const back = new Uint8Array(512);
      await request(VIRTIO_BLK_T_IN, sector, back);
      expect(Buffer.compare(back, data)).toBe(0);
    }
  };
  await world.run(vcpu, () => Promise.all(Array.from({ length: 8 }, (_, i) => worker(i))));
}

describe('a virtio-blk device in a simulated world', () => {
  it('answers every request of a guest on another thread', async () => {
    for (let seed = 0; seed < 60; seed++) await guest(seed, (handler) => handler);
  });

  it('would be found out if it did not ask for kicks before its thread sleeps', async () => {
    let found = 0;
    for (let seed = 0; seed < 20; seed++) {
      const deaf = (handler: EventHandler): EventHandler => ({
        onRead: () => handler.onRead(),
        onPoll: () => handler.onPoll!(),
      });
      await guest(seed, deaf).catch((error: unknown) => {
        expect(error).toBeInstanceOf(SimFailure);
        expect((error as Error).message).toContain('nothing is left to happen');
        found += 1;
      });
    }
    expect(found).toBeGreaterThan(0);
  });
});
