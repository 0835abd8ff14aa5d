// What an adapter's registers and its completion poll need of the way data travels: in place
// (`v86-zero-copy.ts`), or through memory of our own that is shared or sent (`bounce-path.ts`).
// Everything here runs on the emulator's thread.

import type { TransportChannel } from '../virtio/transport-channel.ts';

/** In the guest's memory; copied through memory that is shared; copied and sent in messages. */
export type Transport = 'zero-copy' | 'bounce' | 'messages';

export interface DataPath {
  readonly transport: Transport;
  /** False where answers come by the event loop: a busy wait would only keep them out. */
  readonly polls: boolean;
  /** The channel behind the device's registers. */
  readonly channel: TransportChannel;
  /** The driver notified queue `q`, or the channel's generation changed. */
  kick(q: number): void;
  /** True when `look` would find something. A load or two: what a busy wait asks. */
  due(): boolean;
  /** Takes completions as far as the channel's interrupts, and submits what had to wait. */
  look(): void;
  /** True while requests are in flight for which the driver wants an interrupt. */
  expecting(): boolean;
  /** Arranges that `onDue` is called once something is due; the caller looks once more after. */
  arm(): void;
  onDue(listener: (() => void) | null): void;
  /** Requests in flight, as far as this thread has seen them. */
  readonly inFlight: number;
  /** Why the data plane is no more, when it is. */
  readonly failed: Error | undefined;
  /** Counts of its own, for `stats()`. */
  readonly counters: Readonly<Record<string, number>>;
  /** Takes the device away from the IOThread; the emulator's memory is not touched any more. */
  remove(): Promise<void>;
}
