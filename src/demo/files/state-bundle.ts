// A saved machine in one file: v86's own state, a copy of the file that held what the guest had written,
// and last, since only then all is known, a description in JSON. The copy is there because a machine
// that goes on with another disk than it remembers corrupts it.

import type { V86DeviceState } from '../../adapters/v86.ts';
import { BlockError } from '../../block/block-error.ts';
import type { Choice } from '../boot/selection.ts';

export interface StateDescription {
  readonly version: 1;
  /** For people: what was saved. */
  readonly title: string;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
  /** What to boot it on. */
  readonly choice: Choice;
  readonly memoryBytes: number;
  /** The image that the disk lies over, as the overlay's note has it. */
  readonly base: string | null;
  readonly device: V86DeviceState;
  /** What the guest said last on its serial line. */
  readonly serialText: string;
  /** Lengths of the two parts, bytes. */
  readonly machineBytes: number;
  readonly diskBytes: number;
}

export interface StateBundle {
  readonly description: StateDescription;
  readonly machine: Blob;
  readonly disk: Blob;
  readonly bytes: number;
}

const MAGIC = 'diskplane-state\n';
const MAX_DESCRIPTION = 1024 * 1024;
/** The description's length in 32 bits, little endian, and the magic. */
const SUFFIX = 4 + MAGIC.length;

/** The end of a bundle's file, behind machine and disk. */
export function encodeDescription(description: StateDescription): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(description));
  const bytes = new Uint8Array(json.length + SUFFIX);
  bytes.set(json);
  new DataView(bytes.buffer).setUint32(json.length, json.length, true);
  bytes.set(new TextEncoder().encode(MAGIC), json.length + 4);
  return bytes;
}

/** Reads a bundle's description; its parts stay where they are. Throws BlockError('EINVAL'). */
export async function readBundle(file: Blob, name: string): Promise<StateBundle> {
  const bad = (why: string): BlockError =>
    new BlockError('EINVAL', `'${name}' is not a saved state of this page: ${why}`);
  const suffix = new Uint8Array(await file.slice(-SUFFIX).arrayBuffer());
  const magic = new TextDecoder('latin1').decode(suffix.subarray(4));
  if (suffix.length < SUFFIX || magic !== MAGIC) throw bad('it ends otherwise');
  const length = new DataView(suffix.buffer).getUint32(0, true);
  if (length > MAX_DESCRIPTION) throw bad(`a description of ${length} bytes`);
  const end = file.size - SUFFIX - length;
  const description = parseDescription(await file.slice(Math.max(0, end), -SUFFIX).text());
  if (typeof description === 'string') throw bad(description);
  const { machineBytes, diskBytes } = description;
  if (end !== machineBytes + diskBytes) {
    throw bad(`${end} bytes of machine and disk, not ${machineBytes + diskBytes}`);
  }
  const machine = file.slice(0, machineBytes);
  return { description, machine, disk: file.slice(machineBytes, end), bytes: file.size };
}

/** The description, or why it is none. */
function parseDescription(json: string): StateDescription | string {
  let description: Partial<StateDescription> | null;
  try {
    description = JSON.parse(json) as Partial<StateDescription> | null;
  } catch {
    return 'its description is damaged';
  }
  if (typeof description !== 'object' || description === null) return 'its description is damaged';
  if (description.version !== 1) return `version ${String(description.version)} is not supported`;
  const { title, savedAt, choice, device, serialText, memoryBytes, machineBytes, diskBytes } =
    description;
  const sizes = [savedAt, memoryBytes, machineBytes, diskBytes];
  const sound =
    sizes.every((size) => Number.isSafeInteger(size) && size! >= 0) &&
    [title, serialText].every((text) => typeof text === 'string') &&
    [choice, device].every((part) => typeof part === 'object' && part !== null);
  return sound ? (description as StateDescription) : 'its description lacks something';
}
