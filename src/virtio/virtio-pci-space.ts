// The PCI face of a modern virtio device (virtio 1.2, 4.1): one I/O BAR holds all register blocks,
// four vendor capabilities say where each lies. No MSI-X: the device has INTx alone.

/** Bytes of BAR 0. */
export const VIRTIO_PCI_BAR_BYTES = 256;
/** Where the register blocks lie in BAR 0. */
export const VIRTIO_PCI_COMMON = 0x00;
export const VIRTIO_PCI_COMMON_BYTES = 56;
export const VIRTIO_PCI_ISR = 0x40;
export const VIRTIO_PCI_NOTIFY = 0x44;
export const VIRTIO_PCI_DEVICE = 0x80;
export const VIRTIO_PCI_DEVICE_BYTES = 64;

const PCI_VENDOR_ID_REDHAT_QUMRANET = 0x1af4;
/** 0x1040 + the virtio device id of a block device (4.1.2.1). */
const VIRTIO_PCI_DEVICE_ID_BLK = 0x1042;
const PCI_SUBDEVICE_ID_QEMU = 0x1100;
const PCI_CLASS_STORAGE = 0x01;
const PCI_CAP_ID_VNDR = 0x09;
const VIRTIO_PCI_CAP_COMMON_CFG = 1;
const VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
const VIRTIO_PCI_CAP_ISR_CFG = 3;
const VIRTIO_PCI_CAP_DEVICE_CFG = 4;
const FIRST_CAPABILITY = 0x40;

/** The 256 bytes of PCI configuration space of a virtio-blk function with BAR 0 at I/O `port`. */
export function virtioBlkPciSpace(port: number): Uint8Array {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x00, PCI_VENDOR_ID_REDHAT_QUMRANET, true);
  view.setUint16(0x02, VIRTIO_PCI_DEVICE_ID_BLK, true);
  view.setUint16(0x04, 0x0507, true); // command: I/O, memory, bus master, SERR, no INTx disable
  view.setUint16(0x06, 0x0010, true); // status: has a capability list
  bytes[0x08] = 1; // revision: modern
  bytes[0x0b] = PCI_CLASS_STORAGE;
  view.setUint32(0x10, port | 1, true); // BAR 0, I/O space
  view.setUint16(0x2c, PCI_VENDOR_ID_REDHAT_QUMRANET, true);
  view.setUint16(0x2e, PCI_SUBDEVICE_ID_QEMU, true);
  bytes[0x34] = FIRST_CAPABILITY;
  bytes[0x3d] = 1; // INTA

  const blocks: readonly (readonly [type: number, offset: number, length: number])[] = [
    [VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON, VIRTIO_PCI_COMMON_BYTES],
    [VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_ISR, 1],
    [VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_NOTIFY, 4],
    [VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE, VIRTIO_PCI_DEVICE_BYTES],
  ];
  let at = FIRST_CAPABILITY;
  for (const [type, offset, length] of blocks) {
    // The notify capability carries a multiplier more: 0, all queues ring the same port (4.1.4.4).
    const size = type === VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16;
    const last = type === VIRTIO_PCI_CAP_DEVICE_CFG;
    bytes.set([PCI_CAP_ID_VNDR, last ? 0 : at + size, size, type], at);
    view.setUint32(at + 8, offset, true);
    view.setUint32(at + 12, length, true);
    at += size;
  }
  return bytes;
}
