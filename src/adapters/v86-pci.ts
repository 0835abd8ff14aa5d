// Plugs a virtio-blk function into v86's PCI bus from outside: an I/O BAR whose ports are ours. A
// memory BAR would not do, since v86 cannot move one.

import { BlockError } from '../block/block-error.ts';
import { VIRTIO_PCI_BAR_BYTES, virtioBlkPciSpace } from '../virtio/virtio-pci-space.ts';
import type { V86Machine, V86PciDevice } from './v86-machine.ts';

/** Slots of the PCI bus that v86 leaves free, in the order in which we take them. */
const FREE_SLOTS: readonly number[] = [8, 9, 13, 14, 15, 16, 17, 2, 3, 4];
const FIRST_PORT = 0xd100;
const LAST_PORT = 0xff00;
/** BAR 0 in configuration space, counted in 32-bit words. */
const BAR0 = 4;

/** A register file behind the BAR; offsets from its start, values unsigned. */
export interface PciRegisters {
  read(offset: number, width: number): number;
  write(offset: number, width: number, value: number): void;
}

export interface PciPlace {
  /** 1..31; default: the first one free. */
  readonly slot?: number;
  /** I/O port of the BAR at first, a multiple of 256; firmware moves it. Default: from 0xd100. */
  readonly port?: number;
}

/** A function on the bus. */
export interface PciFunction {
  readonly slot: number;
  /** As v86 names it: slot * 8. */
  readonly pciId: number;
  /** Takes it off the bus again. */
  unplug(): void;
}

/**
 * Registers the ports, then the function: v86 takes note of the ports' handlers at that moment, to
 * move them with the BAR. EBUSY when the place is taken.
 */
export function plugVirtioBlk(
  machine: V86Machine,
  registers: PciRegisters,
  place: PciPlace = {},
): PciFunction {
  const { io } = machine.cpu;
  const { pci } = machine.cpu.devices;
  const slot = place.slot ?? FREE_SLOTS.find((free) => pci.devices[free << 3] === undefined);
  if (slot === undefined || !(slot > 0 && slot < 32) || pci.devices[slot << 3] !== undefined) {
    throw new BlockError('EBUSY', `PCI slot ${slot ?? 'for another disk'} is not free`);
  }
  const port = place.port ?? firstFreePort(machine);
  if (port % VIRTIO_PCI_BAR_BYTES !== 0 || port < 0x1000 || port > LAST_PORT) {
    throw new BlockError('EINVAL', `port ${port} is not a multiple of 256 from 0x1000 to 0xff00`);
  }
  if (!isFree(machine, port)) throw new BlockError('EBUSY', `port ${port} is not free`);

  const pciId = slot << 3;
  const device: V86PciDevice = {
    name: `virtio-blk ${slot}`,
    pci_id: pciId,
    pci_space: [...virtioBlkPciSpace(port)],
    pci_bars: [{ size: VIRTIO_PCI_BAR_BYTES }],
  };
  for (let offset = 0; offset < VIRTIO_PCI_BAR_BYTES; offset++) {
    // All widths at every port: firmware and kernel read fields with widths of their own.
    io.register_read(
      port + offset,
      device,
      () => registers.read(offset, 1),
      () => registers.read(offset, 2),
      () => registers.read(offset, 4) | 0,
    );
    io.register_write(
      port + offset,
      device,
      (value) => registers.write(offset, 1, value & 0xff),
      (value) => registers.write(offset, 2, value & 0xffff),
      (value) => registers.write(offset, 4, value >>> 0),
    );
  }
  pci.register_device(device);

  return {
    slot,
    pciId,
    unplug(): void {
      const bar = pci.device_spaces[pciId]?.[BAR0] ?? 0;
      const at = bar & 0xffff & ~(VIRTIO_PCI_BAR_BYTES - 1);
      for (let offset = 0; offset < VIRTIO_PCI_BAR_BYTES; offset++) {
        const entry = io.ports[at + offset] as { device?: unknown };
        if (entry.device === device) io.ports[at + offset] = io.create_empty_entry();
      }
      pci.device_spaces[pciId] = undefined;
      pci.devices[pciId] = undefined;
    },
  };
}

function firstFreePort(machine: V86Machine): number {
  for (let port = FIRST_PORT; port <= LAST_PORT; port += VIRTIO_PCI_BAR_BYTES) {
    if (isFree(machine, port)) return port;
  }
  throw new BlockError('EBUSY', 'no I/O ports are free');
}

function isFree(machine: V86Machine, port: number): boolean {
  const { ports } = machine.cpu.io;
  for (let offset = 0; offset < VIRTIO_PCI_BAR_BYTES; offset++) {
    if ((ports[port + offset] as { device?: unknown }).device !== undefined) return false;
  }
  return true;
}
