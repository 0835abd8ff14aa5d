// What the disk as a whole is at present, as far as its requests feel it: whether they may fail, must, or
// must not, though nothing below does.

/** 'changing': it goes from one to another, and nobody can tell which it is. */
export type Phase = 'open' | 'read-only' | 'inactive' | 'closed' | 'changing';

/** What a request is to a phase. A discard is advice: one of no whole cluster does nothing, and goes well. */
export type Asked = 'read' | 'change' | 'discard' | 'flush';

/** Since when something is under way. */
export interface PhaseMark {
  readonly serial: number;
}

export class DiskPhase {
  #now: Phase = 'open';
  #serial = 0;
  #ending = false;

  get now(): Phase {
    return this.#now;
  }
  /** Once it is being closed it becomes nothing else. */
  set now(phase: Phase) {
    if (!this.#ending || phase === 'closed') this.#now = phase;
    this.#serial += 1;
  }
  /** It is being closed. */
  end(): void {
    this.now = 'changing';
    this.#ending = true;
  }

  mark(): PhaseMark {
    return { serial: this.#serial };
  }

  /** Whether it was the same all the time. */
  isSince({ serial }: PhaseMark): boolean {
    return serial === this.#serial && this.#now !== 'changing';
  }

  /** Whether a request under way since `mark` had to fail by this alone. */
  fails(mark: PhaseMark, asked: Asked): 'must' | 'may' | 'must not' {
    if (!this.isSince(mark)) return 'may';
    if (this.#now === 'closed') return 'must';
    if (this.#now === 'open' || asked === 'flush') return 'must not';
    if (asked === 'discard') return 'may';
    return this.#now === 'inactive' || asked === 'change' ? 'must' : 'must not';
  }
}
