// The rows that say what a guest gets of it all: Linux in v86 reads its disk without its page cache, over
// our virtio-blk from OPFS beside v86's own IDE with the same image in RAM, and both over HTTP. Two
// machines on one page, by turns; the one that is not measured stands still.

import { openDisk } from '../../index.ts';
import type { Disk } from '../../index.ts';
import { fill } from './fill.ts';
import { LinuxGuest, PROGRAM } from './linux-guest.ts';
import type { GuestDisk, GuestFiles } from './linux-guest.ts';
import { removeFile } from './opfs-files.ts';
import { paced, sideBySide } from './rounds.ts';
import type { Sample } from './rounds.ts';
import { IMAGE_BYTES } from './row.ts';
import type { Counts, Places, Row } from './row.ts';
import { startSyncHandle } from './workers.ts';

const DISK_BYTES = 64 * 1024 * 1024;
const FILE = 'bench-guest.img';
/** What v86's own IDE waits for too: a server that answers so much later, milliseconds. */
const DELAY_MS = 20;
/** An emulated machine needs longer to show what it can. */
const PACE = 8;
/** Requests of the first run, which says how many the others are to have. */
const FIRST_REQUESTS = 200;
/**
 * Requests that a machine has served before it is measured: until v86 has compiled what the guest runs,
 * and the browser has compiled that anew with its better compiler, a request takes ten times as long.
 */
const WARM_UP_REQUESTS = 36_000;
const WARM_UP_STEP = 3000;

/** What the guest does. */
interface Load {
  readonly name: string;
  readonly processes: number;
  /** log2 of the bytes of one read. */
  readonly shift: number;
  readonly sequential?: boolean;
}

const READ_4K: Load = { name: 'randread-4k', processes: 1, shift: 12 };
const READ_4K_BY_4: Load = { name: 'randread-4k-4procs', processes: 4, shift: 12 };
const READ_64K: Load = { name: 'randread-64k', processes: 1, shift: 16 };
const DD_64K: Load = { name: 'dd-64k', processes: 1, shift: 16, sequential: true };

type Kind = 'ide' | 'zero-copy' | 'bounce' | 'http-ide' | 'http-zero-copy';

/** A booted guest, and what it takes to put it away. */
interface Machine {
  readonly guest: LinuxGuest;
  readonly diskBytes: number;
  /** Requests to serve before it is measured. */
  cold: number;
  end(): Promise<void>;
}

export const v86Rows: readonly Row[] = [
  v86Row('zero-copy', READ_4K, 1.3),
  v86Row('zero-copy', READ_4K_BY_4, 1.6),
  v86Row('zero-copy', READ_64K, 1.4),
  v86Row('zero-copy', DD_64K),
  v86Row('bounce', READ_4K, 1.1),
  v86Row('bounce', READ_4K_BY_4, 1.1),
  v86Row('bounce', READ_64K, 1.1),
  v86Row('bounce', DD_64K),
  v86Row('http-zero-copy', READ_4K_BY_4, 5),
];

/** What is booted at the moment: a pair, used by rows one after the other. */
const running = new Map<Kind, Promise<Machine>>();

function v86Row(kind: Kind, load: Load, ratio?: number): Row {
  const overHttp = kind.startsWith('http-');
  const baseline: Kind = overHttp ? 'http-ide' : 'ide';
  const name = `v86-${overHttp ? `${kind}-${DELAY_MS}ms` : kind}/${load.name}`;
  return {
    name,
    ...(ratio === undefined ? {} : { target: { ratio } }),
    needs: overHttp ? ['guest', 'image'] : ['guest'],
    release: endAll,
    async run({ rounds, places }) {
      await endOthers([kind, baseline]);
      const theirs = await machine(baseline, places);
      const ours = await machine(kind, places);
      await warmUp([theirs, ours]);
      const measureOurs = loader(ours, load);
      let before: Counts = {};
      const figures = await sideBySide(
        paced({ ...rounds, warmUpMs: rounds.ms * PACE }, PACE),
        measureOurs,
        loader(theirs, load),
        async () => {
          before = counts(ours);
        },
      );
      const after = Object.entries(counts(ours)).map(
        ([key, total]) => [key, total - before[key]!] as const,
      );
      return { name, unit: 'IOPS', ...figures, counts: Object.fromEntries(after) };
    },
  };
}

/** Measures for about so long: the first run tells how many requests that is. */
function loader({ guest, diskBytes }: Machine, load: Load): (ns: number) => Promise<Sample> {
  const blocks = diskBytes / 2 ** load.shift;
  let seed = 1;
  let perSecond = 0;
  return async (ns) => {
    const wanted = perSecond === 0 ? FIRST_REQUESTS : Math.ceil((perSecond * ns) / 1e9);
    const each = Math.min(Math.ceil(wanted / load.processes), load.sequential ? blocks : Infinity);
    const requests = each * load.processes;
    // Every run reads other blocks: over HTTP all are cold.
    seed += 7919;
    const command = load.sequential
      ? `printf '\\002'; dd if=${guest.device} of=/dev/null bs=${2 ** load.shift} count=${each} ` +
        "iflag=direct 2>/dev/null; printf '\\003'"
      : [PROGRAM, guest.device, load.processes, each, load.shift, blocks, seed].join(' ');
    const took = await guest.time(command);
    perSecond = (requests * 1e9) / took;
    return { requests, ns: took };
  };
}

/** By turns: a machine that waits for its turn is compiled meanwhile. */
async function warmUp(machines: readonly Machine[]): Promise<void> {
  let seed = 0;
  while (machines.some(({ cold }) => cold > 0)) {
    for (const machine of machines) {
      if (machine.cold <= 0) continue;
      const { guest, diskBytes } = machine;
      const { shift } = READ_4K;
      seed += 1;
      const args = [guest.device, 1, WARM_UP_STEP, shift, diskBytes / 2 ** shift, seed];
      await guest.time([PROGRAM, ...args].join(' '));
      machine.cold -= WARM_UP_STEP;
    }
  }
}

function counts({ guest }: Machine): Counts {
  const { kicks, interrupts, seen } = guest.attachment!.stats();
  return {
    kicks,
    interrupts,
    ...Object.fromEntries(Object.entries(seen).map(([where, n]) => [`seen-${where}`, n])),
  };
}

function machine(kind: Kind, places: Places): Promise<Machine> {
  let found = running.get(kind);
  if (found === undefined) {
    found = boot(kind, places);
    running.set(kind, found);
  }
  return found;
}

async function boot(kind: Kind, places: Places): Promise<Machine> {
  const files: GuestFiles = { guest: places.guest!, firmware: places.firmware };
  const url = `${places.image}?delay=${DELAY_MS}`;
  switch (kind) {
    case 'ide': {
      const image = new Uint8Array(DISK_BYTES);
      await fill(DISK_BYTES, (at, chunk) => image.set(chunk, at));
      return start(files, { transport: 'ide', hda: { buffer: image.buffer } }, DISK_BYTES);
    }
    case 'http-ide':
      return start(
        files,
        { transport: 'ide', hda: { url, async: true, size: IMAGE_BYTES } },
        IMAGE_BYTES,
      );
    case 'http-zero-copy':
      return startOurs(files, 'zero-copy', { driver: 'http', url }, IMAGE_BYTES);
    default: {
      const { control, terminate } = startSyncHandle();
      await control.fill(FILE, DISK_BYTES);
      terminate();
      return startOurs(files, kind, { driver: 'opfs', path: FILE }, DISK_BYTES);
    }
  }
}

async function startOurs(
  files: GuestFiles,
  transport: 'zero-copy' | 'bounce',
  file: Readonly<Record<string, unknown>> & { readonly driver: string },
  bytes: number,
): Promise<Machine> {
  const disk = await openDisk({ driver: 'raw', 'read-only': true, file });
  try {
    return await start(files, { transport, disk }, bytes, disk);
  } catch (error) {
    await disk.close();
    throw error;
  }
}

async function start(
  files: GuestFiles,
  what: GuestDisk,
  diskBytes: number,
  disk?: Disk,
): Promise<Machine> {
  const guest = await LinuxGuest.start(files, what);
  return {
    guest,
    diskBytes,
    cold: diskBytes === IMAGE_BYTES ? 0 : WARM_UP_REQUESTS, // over HTTP the network is what takes time
    end: async () => {
      await guest.end();
      await disk?.close();
    },
  };
}

/** Two machines at a time are enough for a page. */
async function endOthers(kept: readonly Kind[]): Promise<void> {
  for (const [kind, starting] of [...running]) {
    if (kept.includes(kind)) continue;
    running.delete(kind);
    await (await starting).end();
  }
}

async function endAll(): Promise<void> {
  await endOthers([]);
  await removeFile(FILE);
}
