// The registers of a virtio-pci device with a RAM of bytes behind them, and a data plane that a test
// plays itself.

import { TransportChannel } from '../virtio/transport-channel.ts';
import { VIRTIO_F_VERSION_1 } from '../virtio/spec.ts';
import { VirtioBlkConfig } from '../virtio/virtio-blk-config.ts';
import { VirtioPci } from '../virtio/virtio-pci.ts';

/** Bytes of guest RAM. */
export const RAM: number = 1 << 20;
/** Offset of the configuration space in the BAR. */
export const CONFIG = 0x80;

/** As a driver sees the device: `start` is a driver's, `irq` its interrupt line. */
export class VirtioPciRig {
  readonly channel: TransportChannel;
  readonly pci: VirtioPci;
  readonly kicks: number[] = [];
  readonly ram: DataView = new DataView(new ArrayBuffer(RAM));
  irq = false;
  gone = false;
  onProgress: () => void = () => {};

  constructor({
    numQueues = 1,
    readOnly = false,
    sectors = 4096,
    packed = false,
    writeCache = true,
  }: {
    numQueues?: number;
    readOnly?: boolean;
    sectors?: number;
    packed?: boolean;
    writeCache?: boolean;
  } = {}) {
    this.channel = new TransportChannel(
      new SharedArrayBuffer(TransportChannel.bytes(numQueues)),
      numQueues,
    );
    this.channel.setCapacity(sectors);
    this.channel.takeConfigCall();
    this.pci = new VirtioPci({
      channel: this.channel,
      config: new VirtioBlkConfig({
        channel: this.channel,
        queueSize: 128,
        readOnly,
        packed,
        writeCache,
      }),
      queueSize: 128,
      ramBytes: RAM,
      hooks: {
        kick: (q) => this.kicks.push(q),
        setIrq: (up) => (this.irq = up),
        progress: () => this.onProgress(),
        isGone: () => this.gone,
        guestWord: (address) => this.ram.getUint16(address, true),
      },
    });
  }

  get status(): number {
    return this.pci.read(0x14, 1);
  }
  set status(value: number) {
    this.pci.write(0x14, 1, value);
  }

  features(...bits: number[]): void {
    for (const window of [0, 1]) {
      const mask = bits
        .filter((bit) => bit >> 5 === window)
        .reduce((sum, bit) => sum + 2 ** (bit & 31), 0);
      this.pci.write(0x08, 4, window);
      this.pci.write(0x0c, 4, mask);
    }
  }

  queue(q: number, desc: number, size = 16): void {
    this.pci.write(0x16, 2, q);
    this.pci.write(0x18, 2, size);
    for (const [i, address] of [desc, desc + 0x400, desc + 0x800].entries()) {
      this.pci.write(0x20 + 8 * i, 4, address);
      this.pci.write(0x24 + 8 * i, 4, 0);
    }
    this.pci.write(0x1c, 2, 1);
  }

  start(...bits: number[]): void {
    this.pci.read(CONFIG, 4);
    this.status = 1;
    this.status = 3;
    this.features(VIRTIO_F_VERSION_1, ...bits);
    this.status = 11;
    this.queue(0, 0x1000);
    this.status = 15;
  }
}
