// A MessageDriver and the relay of a real device, with a port between them that a test looks into: one
// message each way for a batch, data handed over, everything bounded, and nonsense refused.

import { describe, expect, it } from 'vitest';
import { DOORBELL_WORDS } from '../aio/event-notifier.ts';
import { IOVector } from '../base/io-vector.ts';
import { Graph } from '../block/graph.ts';
import { openGraph } from '../block/open.ts';
import { PortDouble } from '../testing/port-pair.ts';
import { Prng } from '../testing/prng.ts';
import { testContext } from '../testing/test-context.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { MAX_REQUEST_BYTES } from '../virtio/request-driver.ts';
import { VQ_BAD_MESSAGE } from '../virtio/virtqueue.ts';
import type { WorkerMessage } from './control.ts';
import type { AnswerBatch } from './device-messages.ts';
import { DeviceTable } from './device-table.ts';
import { MessageDriver } from './message-driver.ts';

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const KIB = 1024;
const DISK = 4 * 1024 * KIB;
const QUEUE = { queueSize: 64, poolPages: 32 };

async function rig() {
  const context = testContext();
  const graph = new Graph(context, '#block');
  const node = await openGraph(graph, { driver: 'memory', size: DISK, 'node-name': 'disk' }, {});
  const events: WorkerMessage[] = [];
  const table = new DeviceTable(context, new Int32Array(DOORBELL_WORDS), graph, (message) =>
    events.push(message),
  );
  const [port, theirs] = PortDouble.pair();
  const options = { id: 'vda', drive: 'disk', serial: 'a serial number', ...QUEUE };
  const state = await table.addPort(options, theirs as unknown as MessagePort);
  const channel = TransportChannel.local(1);
  let calls = 0;
  const onCall = (): void => void (calls += 1);
  const driver = new MessageDriver({ port, channel, state, ...QUEUE, onCall });
  const done = new Map<number, number>();

  /** Lets messages and the loop run until nothing moves; answers [slot, status] of what was reaped. */
  const settle = async (): Promise<void> => {
    for (let moved = true; moved;) {
      moved = theirs.deliver() > 0;
      await new Promise((resolve) => setImmediate(resolve));
      moved = port.deliver() > 0 || moved;
    }
  };
  const reap = (onDone = (_slot: number): void => {}): number =>
    driver.reap((slot, status) => (done.set(slot, status), onDone(slot)));
  const submit = (type: number, offset: number, data: Uint8Array | number): number => {
    const slot = driver.reserve(typeof data === 'number' ? data : data.length);
    expect(slot).toBeGreaterThanOrEqual(0);
    if (typeof data !== 'number') driver.put(slot, 0, data);
    driver.submit(slot, type, offset);
    return slot;
  };
  const bytesAt = async (offset: number, bytes: number): Promise<Uint8Array> => {
    const target = new Uint8Array(bytes);
    expect(await node.preadv(offset, IOVector.of(target), 0)).toBe(0);
    return target;
  };
  return {
    ...{ node, table, events, port, theirs, channel, driver, done, settle, reap, submit, bytesAt },
    get calls(): number {
      return calls;
    },
  };
}

/** One request as it is sent. */
function request(slot: number, type: number, offset: number, bytes: number): number[] {
  return [slot, type, offset, bytes];
}

describe('requests by messages', () => {
  it('take one message each way for a batch, and hand their data over', async () => {
    const { driver, port, theirs, done, settle, reap, submit, bytesAt } = await rig();
    const data = new Prng(1).bytes(32 * 4 * KIB);
    for (let i = 0; i < 32; i++) {
      submit(OUT, i * 4 * KIB, data.subarray(i * 4 * KIB, (i + 1) * 4 * KIB));
    }
    expect(port.posted).toBe(0);
    driver.kick();
    driver.kick();
    await settle();
    // The list of requests goes over too.
    expect([port.posted, port.transferred]).toEqual([1, 33]);
    expect(port.transferredBytes).toBe(data.length + 32 * 4 * 8);
    expect([theirs.posted, theirs.transferred]).toEqual([1, 1]);
    expect([driver.inFlight, reap(), driver.inFlight]).toEqual([32, 32, 0]);
    expect(Buffer.compare(await bytesAt(0, data.length), data)).toBe(0);

    const back = new Uint8Array(data.length);
    const at = new Map<number, number>();
    for (let i = 0; i < 32; i++) at.set(submit(IN, i * 4 * KIB, 4 * KIB), i * 4 * KIB);
    submit(FLUSH, 0, 0);
    driver.kick();
    await settle();
    expect([port.posted, theirs.posted]).toEqual([2, 2]);
    reap((slot) => {
      const offset = at.get(slot);
      if (offset !== undefined) driver.get(slot, 0, back.subarray(offset, offset + 4 * KIB));
    });
    expect(Buffer.compare(back, data)).toBe(0);
    expect([...done.values()].every((status) => status === 0)).toBe(true);
  });

  it('are kept to the slots and the pages that both sides have', async () => {
    const { driver, done, settle, reap, submit } = await rig();
    // Small ones take a page each, and what has no data takes none.
    const slots = Array.from({ length: 32 }, (_, i) => submit(IN, 512 * i, 512));
    expect(driver.reserve(1)).toBe(-1);
    for (let i = 32; i < QUEUE.queueSize; i++) slots.push(submit(FLUSH, 0, 0));
    expect(driver.reserve(0)).toBe(-1);
    expect(new Set(slots).size).toBe(QUEUE.queueSize);
    driver.kick();
    await settle();
    expect(reap()).toBe(QUEUE.queueSize);
    for (let i = 0; i < 2; i++) submit(OUT, 0, new Uint8Array(MAX_REQUEST_BYTES).fill(7));
    expect(driver.reserve(512)).toBe(-1);
    driver.kick();
    await settle();
    expect(reap()).toBe(2);
    expect(driver.reserve(MAX_REQUEST_BYTES)).toBeGreaterThanOrEqual(0);
    expect([...done.values()].every((status) => status === 0)).toBe(true);
    expect(driver.inFlight).toBe(0);
  });

  it('put data in pieces, ask for the serial number, and fail with a reason', async () => {
    const { driver, channel, done, settle, reap, submit, bytesAt } = await rig();
    const slot = driver.reserve(1024);
    driver.put(slot, 0, new Uint8Array(500).fill(1));
    driver.put(slot, 500, new Uint8Array(524).fill(2));
    driver.submit(slot, OUT, 512);
    const id = submit(GET_ID, 0, 20);
    const beyond = submit(IN, DISK, 512);
    // As far off as a guest can say.
    const far = submit(IN, 2 ** 63, 512);
    driver.kick();
    await settle();
    const name = new Uint8Array(20);
    reap((slot) => slot === id && driver.get(slot, 0, name));
    expect(new TextDecoder().decode(name)).toBe('a serial number\0\0\0\0\0');
    expect([slot, id, beyond, far].map((one) => done.get(one))).toEqual([0, 0, 1, 1]);
    expect(channel.lastErrno).toBe(22);
    const written = await bytesAt(512, 1024);
    expect([written[0], written[499], written[500], written[1023]]).toEqual([1, 1, 2, 2]);
  });

  it('hear of the device: a new size, and that it was taken away', async () => {
    const peer = await rig();
    expect(peer.channel.capacity).toBe(DISK / 512);
    expect(peer.channel.takeConfigCall()).toBe(false);
    const generation = peer.channel.configGeneration;
    expect(await peer.node.truncate(2 * DISK)).toBe(0);
    await peer.settle();
    expect(peer.channel.capacity).toBe((2 * DISK) / 512);
    expect(peer.channel.configGeneration).not.toBe(generation);
    expect(peer.channel.takeConfigCall()).toBe(true);
    expect(peer.calls).toBeGreaterThan(0);
    await peer.table.del('vda');
    expect(peer.theirs.closed).toBe(true);
  });
});

describe('what a relay refuses', () => {
  const good = request(0, OUT, 0, 512);
  const sector = (): ArrayBuffer => new ArrayBuffer(512);
  const batch = (
    requests: number[][],
    data: unknown[] = [],
    writeCache: unknown = true,
  ): unknown => ({
    requests: Float64Array.from(requests.flat()),
    data,
    writeCache,
  });
  const pages = Array.from({ length: 33 }, (_, slot) => request(slot, IN, 0, 512));
  const cases: readonly (readonly [name: string, message: unknown])[] = [
    ['nothing', null],
    ['a string', 'requests'],
    ['an empty object', {}],
    ['a list in place of the fields', { requests: good, data: [sector()], writeCache: true }],
    [
      'other words in place of the fields',
      { requests: new Float32Array(4), data: [], writeCache: true },
    ],
    ['half a request', batch([good.slice(0, 3)])],
    ['no data', batch([good])],
    ['data for nothing', batch([request(0, IN, 0, 512)], [sector()])],
    ['too many data', batch([good], [sector(), sector()])],
    ['data of another length', batch([good], [new ArrayBuffer(511)])],
    ['a view in place of data', batch([good], [new Uint8Array(512)])],
    ['no list of data', { requests: new Float64Array(0), data: undefined, writeCache: true }],
    ['a cache mode that is none', batch([good], [sector()], 'yes')],
    ['a slot that there is not', batch([request(QUEUE.queueSize, FLUSH, 0, 0)])],
    ['a negative slot', batch([request(-1, FLUSH, 0, 0)])],
    ['a slot between two', batch([request(0.5, FLUSH, 0, 0)])],
    ['a slot twice', batch([request(3, FLUSH, 0, 0), request(3, FLUSH, 0, 0)])],
    ['a type that is no number', batch([request(0, NaN, 0, 0)])],
    ['a type of 33 bits', batch([request(0, 2 ** 32, 0, 0)])],
    ['a negative offset', batch([request(0, IN, -512, 512)])],
    ['an offset within a sector', batch([request(0, IN, 100, 512)])],
    ['an infinite offset', batch([request(0, IN, Infinity, 512)])],
    ['an offset that is no number', batch([request(0, IN, NaN, 512)])],
    ['more than a request may have', batch([request(0, IN, 0, MAX_REQUEST_BYTES + 512)])],
    ['a negative length', batch([request(0, IN, 0, -1)])],
    ['half a byte', batch([request(0, IN, 0, 0.5)])],
    ['more data than there are pages', batch(pages)],
  ];

  it.each(cases)('%s', async (_name, message) => {
    const { driver, port, channel, events, done, settle, reap, submit, bytesAt } = await rig();
    port.postMessage(message);
    await settle();
    expect(channel.broken).toBe(VQ_BAD_MESSAGE);
    expect(channel.takeConfigCall()).toBe(true);
    expect(events).toMatchObject([{ diskplane: 'broken', device: 'vda', reason: VQ_BAD_MESSAGE }]);
    // It stays so, and touches the disk no more.
    submit(OUT, 0, new Uint8Array(512).fill(1));
    driver.kick();
    await settle();
    expect(reap()).toBe(0);
    expect(done.size).toBe(0);
    expect(await bytesAt(0, 512)).toEqual(new Uint8Array(512));
    expect(events).toHaveLength(1);
  });

  it('a message that could not be read', async () => {
    const { theirs, channel, settle } = await rig();
    theirs.onmessageerror?.call(theirs as unknown as MessagePort, {} as MessageEvent);
    await settle();
    expect(channel.broken).toBe(VQ_BAD_MESSAGE);
  });
});

describe('what a driver refuses', () => {
  const state = { capacity: DISK / 512, broken: 0, lastErrno: 0 };
  const cases: readonly (readonly [name: string, answers: number[], data: ArrayBuffer[]])[] = [
    ['a slot that there is not', [1000, 0], []],
    ['a slot that is free', [63, 0], []],
    ['a slot twice', [1, 0, 1, 0], []],
    ['no data', [0, 0], []],
    ['data of another length', [0, 0], [new ArrayBuffer(511)]],
  ];

  it.each(cases)('%s', async (_name, answers, data) => {
    const peer = await rig();
    const { driver, port, theirs } = peer;
    expect([peer.submit(IN, 0, 512), peer.submit(FLUSH, 0, 0)]).toEqual([0, 1]);
    const message: AnswerBatch = { answers: Int32Array.from(answers), data, state };
    theirs.postMessage(message, data);
    port.deliver();
    expect(driver.broken).toBe(true);
    expect(peer.calls).toBeGreaterThan(0);
  });
});
