import { describe, expect, it } from 'vitest';
import { CONFIG, RAM, VirtioPciRig as Rig } from '../testing/virtio-pci-rig.ts';
import { VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH, VIRTIO_F_VERSION_1 } from './spec.ts';

const ISR = 0x40;

describe('configuration space', () => {
  it('holds capacity, limits and geometry at their offsets, in any width', () => {
    const rig = new Rig({ sectors: 5 * 2 ** 32 + 7, numQueues: 3 });
    expect(rig.pci.read(CONFIG, 4)).toBe(7);
    expect(rig.pci.read(CONFIG + 4, 4)).toBe(5);
    expect(rig.pci.read(CONFIG + 12, 4)).toBe(126);
    expect(rig.pci.read(CONFIG + 20, 4)).toBe(512);
    expect(rig.pci.read(CONFIG + 24, 1)).toBe(3);
    expect(rig.pci.read(CONFIG + 34, 2)).toBe(3);
    expect(rig.pci.read(CONFIG + 36, 4)).toBe(4194303);
    expect(rig.pci.read(CONFIG + 44, 4)).toBe(8);
    expect(rig.pci.read(CONFIG + 56, 1)).toBe(1);
    expect(rig.pci.read(CONFIG + 60, 4)).toBe(0);
    expect(rig.pci.read(CONFIG + 127, 4)).toBe(0);
    expect(rig.pci.read(0x12, 2)).toBe(3);
  });

  it('follows a resize and bumps the generation', () => {
    const rig = new Rig();
    const generation = rig.pci.read(0x15, 1);
    rig.channel.setCapacity(9999);
    expect(rig.pci.read(CONFIG, 4)).toBe(9999);
    expect(rig.pci.read(0x15, 1)).not.toBe(generation);
  });

  it('tells at DRIVER_OK of a resize since the driver read the capacity, and else not', () => {
    const rig = new Rig();
    rig.channel.setCapacity(1); // before
    rig.pci.update();
    rig.start();
    rig.pci.update();
    expect(rig.irq).toBe(false);
    rig.status = 0;
    rig.pci.read(CONFIG, 4);
    rig.status = 11;
    rig.channel.setCapacity(2);
    rig.pci.update();
    expect(rig.irq).toBe(false);
    rig.features(VIRTIO_F_VERSION_1);
    rig.status = 3;
    rig.status = 11;
    rig.status = 15;
    expect(rig.pci.read(ISR, 1)).toBe(2);
  });

  it.each([
    ['neither', [], false],
    ['FLUSH', [VIRTIO_BLK_F_FLUSH], true],
    ['CONFIG_WCE', [VIRTIO_BLK_F_CONFIG_WCE], true],
  ])('starts with the cache mode for %s', (_what, bits, writeCache) => {
    const rig = new Rig();
    rig.start(...bits);
    expect(rig.channel.writeCache).toBe(writeCache);
  });

  it('lets the driver switch the cache, and a reset puts it back', () => {
    const rig = new Rig();
    rig.start(VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE);
    rig.pci.write(CONFIG + 32, 1, 0);
    expect(rig.channel.writeCache).toBe(false);
    rig.pci.write(CONFIG, 4, 0xffffffff); // not writable
    expect(rig.pci.read(CONFIG, 4)).toBe(4096);
    rig.status = 0;
    expect(rig.pci.read(CONFIG + 32, 1)).toBe(1);
    rig.start(VIRTIO_BLK_F_FLUSH); // CONFIG_WCE not negotiated
    rig.pci.write(CONFIG + 32, 1, 0);
    expect(rig.channel.writeCache).toBe(true);
  });

  it('starts writethrough where the disk is, until the driver turns the cache on', () => {
    const rig = new Rig({ writeCache: false });
    expect(rig.pci.read(CONFIG + 32, 1)).toBe(0);
    rig.start(VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE);
    expect(rig.channel.writeCache).toBe(false);
    rig.pci.write(CONFIG + 32, 1, 1);
    expect(rig.channel.writeCache).toBe(true);
    rig.status = 0;
    expect(rig.pci.read(CONFIG + 32, 1)).toBe(0);
  });
});

describe('saved state', () => {
  it('comes back on another device with the same disk, where the rings stood', () => {
    const rig = new Rig();
    rig.start(VIRTIO_BLK_F_FLUSH);
    for (const ring of [0x1400, 0x1800]) rig.ram.setUint16(ring + 2, 65530, true);
    rig.channel.call(0);
    rig.pci.update();
    const state = structuredClone(rig.pci.save());
    const other = new Rig();
    other.pci.restore(state);
    expect(other.status).toBe(15);
    expect(other.irq).toBe(true);
    expect(other.channel.queue(0)).toMatchObject({ size: 16, lastAvail: 65530, usedIdx: 65530 });
    expect(other.channel.features).toBe(rig.channel.features);
    expect(other.kicks).toEqual([0]);
    expect(other.pci.read(ISR, 1)).toBe(1);
    for (let at = 0; at < 56; at++) expect(other.pci.read(at, 1)).toBe(rig.pci.read(at, 1));
  });

  it('is refused for more queues, or queues that do not fit', () => {
    const rig = new Rig();
    rig.start();
    const state = rig.pci.save();
    expect(() => new Rig({ numQueues: 2 }).pci.restore(state)).toThrow(/1 queues, the device 2/);
    const queues = [{ ...state.queues[0]!, addresses: [RAM, 0, 0, 0, 0, 0] }];
    expect(() => new Rig().pci.restore({ ...state, queues })).toThrow(/queue 0 does not fit/);
  });

  it('is not taken while a request is in flight', () => {
    const rig = new Rig();
    rig.start();
    rig.ram.setUint16(0x1402, 1, true);
    expect(() => rig.pci.save()).toThrow(/in flight/);
  });
});
