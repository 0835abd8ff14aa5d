// A tab of a browser without a driver. The functions are named as Playwright's, and take what those
// take, so that cases can be written once for both.

import type { AgentWindow } from './agent.ts';
import type { Channel } from './channel.ts';

/** What cases ask of a tab: ours, or Playwright's `Page`. */
export interface Tab {
  goto(url: string): Promise<unknown>;
  reload(): Promise<unknown>;
  /** Runs `work` in the tab; argument and answer are what JSON carries. */
  evaluate<R, A>(work: (argument: A) => R | Promise<R>, argument: A): Promise<R>;
}

/** One call, milliseconds; a test has its own limit besides. */
const CALL_MS = 60_000;
const LOAD_MS = 30_000;
/** Between looks at whether something has come true. */
const PAUSE_MS = 40;

export class EngineTab implements Tab {
  readonly #channel: Channel;
  readonly #origin: string;
  readonly #number: number;

  private constructor(channel: Channel, origin: string, number: number) {
    this.#channel = channel;
    this.#origin = origin;
    this.#number = number;
  }

  /** Opens a tab, empty, in the browser of `channel`, whose agent is at `origin`. */
  static async open(channel: Channel, origin: string, number: number): Promise<EngineTab> {
    const tab = new EngineTab(channel, origin, number);
    const agent = new EngineTab(channel, origin, 0);
    await agent.evaluate((number) => {
      const opened = window.open('about:blank', '_blank');
      if (opened === null) throw new Error('the browser opens no tabs');
      (window as unknown as AgentWindow).tabs[number] = opened as never;
    }, number);
    return tab;
  }

  async goto(url: string): Promise<void> {
    await this.#navigate((to) => void window.location.assign(to), new URL(url, this.#origin).href);
  }

  async reload(): Promise<void> {
    await this.#navigate(() => window.location.reload(), undefined);
  }

  evaluate<R, A>(
    work: (argument: A) => R | Promise<R>,
    argument: A,
    timeout: number = CALL_MS,
  ): Promise<R> {
    const json = argument === undefined ? 'undefined' : JSON.stringify(argument);
    const source = `(${work.toString()})(${json})`;
    return this.#channel.evaluate(this.#number, source, timeout) as Promise<R>;
  }

  /** Waits until `look` answers something true; answers that. `describe` says more when it does not. */
  async until<R, A>(
    look: (argument: A) => R,
    argument: A,
    timeout: number,
    describe: () => string = () => '',
  ): Promise<R> {
    const end = Date.now() + timeout;
    let last: unknown;
    do {
      try {
        const seen = await this.evaluate(look, argument);
        if (seen) return seen;
        last = seen;
      } catch (error) {
        // Between two documents.
        last = error;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    } while (Date.now() < end);
    const more = await this.evaluate(describe, undefined).catch(String);
    throw new Error(`not within ${timeout} ms: ${look.toString()} (${String(last)}) ${more}`);
  }

  async close(): Promise<void> {
    await this.evaluate(() => void setTimeout(() => window.close()), undefined);
  }

  /** Uncaught errors of the document since it was loaded. */
  errors(): Promise<string[]> {
    return this.evaluate(() => (window as unknown as Marked).uncaught ?? [], undefined);
  }

  async #navigate<A>(leave: (argument: A) => void, argument: A): Promise<void> {
    await this.evaluate(() => void Object.assign(window, { left: true }), undefined);
    await this.evaluate(leave, argument);
    await this.until(
      () => document.readyState === 'complete' && !(window as unknown as Marked).left,
      undefined,
      LOAD_MS,
    );
    await this.evaluate(() => {
      const uncaught: string[] = [];
      Object.assign(window, { uncaught });
      window.addEventListener('error', ({ message }) => uncaught.push(message));
      window.addEventListener('unhandledrejection', ({ reason }) => uncaught.push(String(reason)));
    }, undefined);
  }
}

interface Marked {
  left?: boolean;
  uncaught?: string[];
}
