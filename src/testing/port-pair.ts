// Two ends of a message channel in one thread: a message is cloned when it is posted, as the real one
// is, and arrives when the test says so.

import type { DevicePort } from '../iothread/device-messages.ts';

export class PortDouble implements DevicePort {
  onmessage: DevicePort['onmessage'] = null;
  onmessageerror: DevicePort['onmessageerror'] = null;
  /** Messages posted here; buffers that were handed over with them, and bytes in all of those. */
  posted = 0;
  transferred = 0;
  transferredBytes = 0;
  closed = false;
  readonly #inbox: unknown[] = [];
  #peer!: PortDouble;

  static pair(): readonly [PortDouble, PortDouble] {
    const [one, other] = [new PortDouble(), new PortDouble()];
    one.#peer = other;
    other.#peer = one;
    return [one, other];
  }

  postMessage(message: unknown, transfer: unknown = []): void {
    const buffers = transfer as ArrayBuffer[];
    this.posted += 1;
    this.transferred += buffers.length;
    for (const { byteLength } of buffers) this.transferredBytes += byteLength;
    this.#peer.#inbox.push(structuredClone(message, { transfer: buffers }));
  }

  close(): void {
    this.closed = true;
  }

  /** Hands over what has come; answers how many messages. */
  deliver(): number {
    const messages = this.#inbox.splice(0);
    for (const data of messages) {
      this.onmessage?.call(this as unknown as MessagePort, { data } as MessageEvent);
    }
    return messages.length;
  }
}
