// The baseline of the null-co rows: the same event loop, doorbells and WebAssembly queue as a device
// has, and nothing behind them. It pops, says "done" and flushes.

import { EventNotifier } from '../../aio/event-notifier.ts';
import { WorkerContext } from '../../aio/worker-context.ts';
import { BrowserHost } from '../../host/browser.ts';
import { DeviceChannel } from '../../virtio/device-channel.ts';
import { VIRTIO_BLK_S_OK } from '../../virtio/spec.ts';
import { REQ_HEAD, REQ_IN_BYTES, REQ_STATUS_ADDR, REQUEST_WORDS } from '../../virtio/virtqueue.ts';
import { instantiateQueueModule } from '../../virtio/wasm-module.ts';
import { WasmQueue } from '../../virtio/wasm-queue.ts';

/** As RequestQueue takes them. */
const BATCH = 64;

/** Posted to the worker once the guest has started the device; it answers 'ready'. */
export interface BareRingSetup {
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly channel: SharedArrayBuffer;
  readonly doorbell: Int32Array;
}

addEventListener('message', ({ data }: MessageEvent<BareRingSetup>) => void serveRing(data), {
  once: true,
});

async function serveRing(setup: BareRingSetup): Promise<void> {
  const host = new BrowserHost();
  const context = new WorkerContext('bare-ring', host, setup.doorbell);
  const channel = new DeviceChannel(setup.channel, 1);
  const queue = new WasmQueue({
    module: instantiateQueueModule(setup.memory),
    ramBase: 0,
    ramSize: setup.ramBytes,
    scratch: setup.ramBytes,
    config: { ...channel.queue(0), eventIdx: true, indirect: true },
  });
  const serve = (): boolean => serveOnce(queue, channel);
  context.setEventNotifier(new EventNotifier(channel.words, channel.kickIndex(0), setup.doorbell), {
    onRead: () => void serve(),
    onPoll: () => queue.hasAvailable() && serve(),
    onSleep: () => queue.enableNotification(),
  });
  postMessage('ready');
  await context.run();
}

function serveOnce(queue: WasmQueue, channel: DeviceChannel): boolean {
  queue.disableNotification();
  let taken = 0;
  while (taken < queue.size) {
    const n = queue.pop(BATCH);
    if (n === 0) break;
    const table = queue.requests;
    for (let i = 0; i < n; i++) {
      const at = i * REQUEST_WORDS;
      const written = table[at + REQ_IN_BYTES]! + 1;
      queue.push(table[at + REQ_HEAD]!, written, table[at + REQ_STATUS_ADDR]!, VIRTIO_BLK_S_OK);
    }
    taken += n;
    if (queue.flush()) channel.call(0);
  }
  return taken > 0;
}
