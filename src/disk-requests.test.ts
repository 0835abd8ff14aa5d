// Requests of the façade against a device that answers when the test says so.

import { describe, expect, it } from 'vitest';
import { DiskRequests } from './disk-requests.ts';
import { DeviceHandle } from './iothread/device-handle.ts';
import { REQUEST_FIELDS, parseRequestBatch } from './iothread/device-messages.ts';
import { MessageDriver } from './iothread/message-driver.ts';
import { PortDouble } from './testing/port-pair.ts';
import { TransportChannel } from './virtio/transport-channel.ts';
import { MAX_REQUEST_BYTES } from './virtio/request-driver.ts';

const QUEUE = { queueSize: 16, poolPages: 64 };
const state = { capacity: 1 << 20, broken: 0, lastErrno: 0 };

function rig() {
  const [port, theirs] = PortDouble.pair();
  const channel = TransportChannel.local(1);
  const order: string[] = [];
  const device = new DeviceHandle('test', channel, undefined, async () => {
    order.push('removed');
  });
  const onCall = (): void => device.called();
  const driver = new MessageDriver({ port, channel, state, ...QUEUE, onCall });
  const slots: number[] = [];
  theirs.onmessage = ({ data }: MessageEvent<unknown>): void => {
    const { requests } = parseRequestBatch(data, QUEUE.queueSize)!;
    for (let at = 0; at < requests.length; at += REQUEST_FIELDS) slots.push(requests[at]!);
  };
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  /** Answers `count` of the requests that came; reads get `bytes`. */
  const answer = async (count: number, bytes?: number): Promise<void> => {
    await turn();
    theirs.deliver();
    const answers = slots.splice(0, count).flatMap((slot) => [slot, 0]);
    const data = bytes === undefined ? [] : [new ArrayBuffer(bytes)];
    theirs.postMessage({ answers: Int32Array.from(answers), data, state });
    port.deliver();
    await turn();
  };
  return {
    requests: new DiskRequests(driver, device, 'disk'),
    device,
    driver,
    order,
    slots,
    turn,
    answer,
  };
}

describe('DiskRequests', () => {
  it('closes when all that was under way is answered, aborted requests too', async () => {
    const { requests, driver, order, turn, answer } = rig();
    const controller = new AbortController();
    void requests.read(0, new Uint8Array(512), undefined).then(() => order.push('read'));
    const aborted = requests.flush(controller.signal).catch((error: unknown) => error);
    await turn();
    controller.abort('enough');
    expect(await aborted).toBe('enough');
    const closing = requests.close();
    await turn();
    expect(order).toEqual([]);
    await answer(1, 512);
    expect(order).toEqual(['read']);
    expect(driver.inFlight).toBe(1);
    await answer(1);
    await closing;
    expect(order).toEqual(['read', 'removed']);
  });

  it('closes when nothing will be answered any more', async () => {
    const { requests, device, order, turn } = rig();
    const flushing = requests.flush(undefined).catch((error: unknown) => error);
    await turn();
    const closing = requests.close();
    await turn();
    const gone = new Error('gone');
    device.fail(gone);
    expect(await flushing).toBe(gone);
    await closing;
    expect(order).toEqual(['removed']);
  });

  it('leaves the page its event loop while requests wait for room', async () => {
    const { requests, slots, turn, answer } = rig();
    let written = 0;
    const data = new Uint8Array(10 * MAX_REQUEST_BYTES);
    const writing = requests.write(0, data, undefined).then(() => (written = data.length));
    // Were promise jobs to wait for room, no turn would ever come.
    for (let i = 0; i < 3; i++) await turn();
    await answer(4);
    expect(slots).toEqual([]);
    await answer(4);
    expect(written).toBe(0);
    await answer(2);
    await writing;
    expect(written).toBe(data.length);
  });
});
