// Downloads: the file that holds what the guest wrote, or the whole disk as the guest sees it, made
// flat. Streamed to where the user wants it; a guest that runs stands still meanwhile.

import type { BootPlan } from '../boot/boot-plan.ts';
import { iterateStream } from '../../disk-export.ts';
import { describe } from '../explain-error.ts';
import { formatBytes, formatProgress } from '../format-units.ts';
import { openDisk } from '../../index.ts';
import type { Disk, JobOptions, Progress } from '../../index.ts';
import { syncGuest } from '../machine/guest-shell.ts';
import type { Session } from '../machine/session.ts';
import type { PageState } from '../page-state.ts';
import type { LogLevel } from '../workbench.ts';
import { chooseSaveTarget } from './save-file.ts';
import type { SaveTarget } from './save-file.ts';

/** `'file'`: the file as it is; the others: the disk with everything below it, in that format. */
export type DownloadKind = 'file' | 'raw' | 'qcow2';

export interface DownloadsOptions {
  readonly state: PageState;
  readonly log: (level: LogLevel, words: string) => void;
  /** What runs, and what runs or ran last. */
  readonly machine: {
    readonly session: Session | undefined;
    readonly plan: BootPlan | undefined;
  };
}

type Chunks = AsyncIterable<Uint8Array<ArrayBuffer>>;

export class Downloads {
  readonly #options: DownloadsOptions;

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  /** Asks where to and saves; call it first thing in a click. Problems go to the log. */
  async save(kind: DownloadKind): Promise<void> {
    const { state, machine } = this.#options;
    const { plan } = machine;
    if (plan === undefined || state.busy !== undefined) return;
    const name = fileName(plan, kind);
    const target = await chooseSaveTarget(name);
    if (target !== undefined) await this.#save(kind, plan, name, target);
  }

  async #save(kind: DownloadKind, plan: BootPlan, name: string, target: SaveTarget): Promise<void> {
    const { state, log, machine } = this.#options;
    const stop = new AbortController();
    const cancel = (): void => stop.abort();
    state.setBusy('Preparing the download', cancel);
    let bytes = 0;
    const onProgress = (progress: Progress): void =>
      state.setBusy(`Saving ${name}: ${formatProgress(progress)}`, cancel);
    const save = async (disk: Disk): Promise<void> => {
      for await (const chunk of chunksOf(disk, kind, { signal: stop.signal, onProgress })) {
        bytes += chunk.length;
        await target.write(chunk);
      }
    };
    try {
      if (machine.session === undefined) await saveClosed(plan, save);
      else await this.#saveRunning(machine.session, save);
      await target.finish();
      log('good', `Saved ${name}, ${formatBytes(bytes)}`);
    } catch (error) {
      await target.discard().catch(() => {});
      if (stop.signal.aborted) log('info', 'The download was canceled');
      else log('error', `The download failed: ${describe(error)}`);
    } finally {
      state.setBusy(undefined);
    }
  }

  async #saveRunning(session: Session, save: (disk: Disk) => Promise<void>): Promise<void> {
    const { log, machine } = this.#options;
    const { talk } = session.plan;
    if (talk === undefined || !(await syncGuest(session.machine.serial, talk))) {
      log('warning', 'What the guest has not synced yet is not in the file');
    }
    await session.machine.pause();
    try {
      await save(session.disk);
    } finally {
      if (machine.session === session) await session.machine.run();
    }
  }
}

async function saveClosed(plan: BootPlan, save: (disk: Disk) => Promise<void>): Promise<void> {
  const extra = plan.thread === undefined ? {} : { thread: plan.thread };
  await using disk = await openDisk(plan.blockdev, { readOnly: true, ...extra });
  await save(disk);
}

function chunksOf(disk: Disk, kind: DownloadKind, job: JobOptions): Chunks {
  if (kind === 'file') return disk.exportNode(job);
  return iterateStream(disk.exportImage({ ...job, format: kind }));
}

function fileName(plan: BootPlan, kind: DownloadKind): string {
  if (kind === 'file') return plan.fileName;
  const name = plan.fileName.replace(/\.[a-z0-9]{1,5}$/i, '');
  return `${name}-flat.${kind === 'raw' ? 'img' : 'qcow2'}`;
}
