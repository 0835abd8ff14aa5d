// The guest's serial line as text: what it said lately, waiting for it to say something, and typing.
// The Linux guest's shell prompt is known, so that commands are sent only where they are read.

/** Most text that is kept, characters. */
const KEPT = 256 * 1024;
// Colours, cursor movements and questions to the terminal are not what the guest says.
const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-Za-z]|[=>78])/g;
/** The start of one that the next bytes may end. */
const ESCAPE_START = /\x1b[^@-Z\\-~]{0,24}$/;
const PROMPT = /(?:^|\n)guest# ?$/;

interface Waiter {
  readonly pattern: RegExp;
  readonly from: number;
  readonly found: (match: RegExpExecArray) => void;
}

export class SerialConsole {
  #text = '';
  /** The first half of an escape sequence. */
  #cut = '';
  /** Characters dropped from the start of `#text`. */
  #dropped = 0;
  readonly #waiters = new Set<Waiter>();
  readonly #send: (text: string) => void;

  /** `send` types on the guest's line. */
  constructor(send: (text: string) => void) {
    this.#send = send;
  }

  /** What the guest said, without escape sequences; the last 256 KiB. */
  get text(): string {
    return this.#text;
  }
  /** How much was said so far: a mark to look from. */
  get position(): number {
    return this.#dropped + this.#text.length;
  }
  /** Whether the guest's shell waits for a command, with nothing typed yet. */
  get atPrompt(): boolean {
    return PROMPT.test(this.#text.slice(-80));
  }

  /** Takes in what the guest said. */
  receive(bytes: Uint8Array): void {
    let text = this.#cut;
    for (const byte of bytes) text += String.fromCharCode(byte);
    this.#cut = ESCAPE_START.exec(text)?.[0] ?? '';
    text = text.slice(0, text.length - this.#cut.length);
    this.#text += text.replaceAll('\r', '').replace(ESCAPES, '');
    if (this.#text.length > 2 * KEPT) {
      this.#dropped += this.#text.length - KEPT;
      this.#text = this.#text.slice(-KEPT);
    }
    for (const waiter of [...this.#waiters]) this.#look(waiter);
  }

  send(text: string): void {
    this.#send(text);
  }

  /**
   * Resolves when what is said from `from` on (default: from now on) matches. Rejects with the
   * signal's reason.
   */
  waitFor(
    pattern: RegExp,
    options: { readonly from?: number; readonly signal?: AbortSignal } = {},
  ): Promise<RegExpExecArray> {
    const { signal, from = this.position } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const abort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal!.reason as Error);
      };
      const waiter: Waiter = {
        pattern,
        from,
        found: (match) => {
          this.#waiters.delete(waiter);
          signal?.removeEventListener('abort', abort);
          resolve(match);
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiters.add(waiter);
      this.#look(waiter);
    });
  }

  /** Types a command at the prompt and resolves at the next one. */
  async run(command: string, signal?: AbortSignal): Promise<void> {
    const from = this.position;
    this.#send(`${command}\n`);
    // The echo ends the line of the old prompt; the new one stands on a line of its own.
    await this.waitFor(/\nguest# ?$/, { from, ...(signal === undefined ? {} : { signal }) });
  }

  #look(waiter: Waiter): void {
    const said = this.#text.slice(Math.max(0, waiter.from - this.#dropped));
    const match = waiter.pattern.exec(said);
    if (match !== null) waiter.found(match);
  }
}
