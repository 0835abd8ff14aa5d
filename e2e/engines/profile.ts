// A browser profile: what it stores outlives the browsers that are started on it, one at a time.

import type { EngineName } from '../setup/engines.mjs';
import { Channel, type Channels } from './channel.ts';
import { launchEngine, type Preferences } from './launch.ts';
import { ProcessGroup, removeFolder, temporaryFolder } from './process-group.ts';
import { EngineTab } from './tab.ts';

/** A busy machine makes much of the few seconds that it takes. */
const START_MS = 60_000;

/** A running browser. */
export class EngineBrowser {
  readonly #channel: Channel;
  readonly #origin: string;
  readonly #tabs: EngineTab[] = [];

  constructor(channel: Channel, origin: string) {
    this.#channel = channel;
    this.#origin = origin;
  }

  async newTab(): Promise<EngineTab> {
    const tab = await EngineTab.open(this.#channel, this.#origin, this.#tabs.length + 1);
    this.#tabs.push(tab);
    return tab;
  }

  /** Closes all tabs. Answers what was uncaught in them. */
  async closeTabs(): Promise<string[]> {
    const errors: string[] = [];
    for (const tab of this.#tabs) {
      errors.push(...(await tab.errors().catch(() => [])));
      await tab.close().catch(() => {});
    }
    return errors;
  }
}

export class EngineProfile {
  readonly #engine: EngineName;
  readonly #channels: Channels;
  readonly #folder: string;
  #process: ProcessGroup | undefined;
  #channel: Channel | undefined;

  constructor(engine: EngineName, channels: Channels) {
    this.#engine = engine;
    this.#channels = channels;
    this.#folder = temporaryFolder(engine);
  }

  /** Starts a browser whose tabs are of `origin`. */
  async launch(origin: string, preferences?: Preferences): Promise<EngineBrowser> {
    if (this.#process !== undefined) throw new Error('this profile has a running browser');
    const { channel, path } = this.#channels.make();
    this.#channel = channel;
    const url = origin + path;
    const started = await launchEngine(this.#engine, { folder: this.#folder, url, preferences });
    this.#process = started;
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<never>((_, reject) => {
      const fail = (why: string): void => reject(new Error(`${why}: ${started.output}`));
      timer = setTimeout(fail, START_MS, `${this.#engine} is not up within ${START_MS} ms`);
      started.child.once('exit', (code) => fail(`${this.#engine} ended with ${code}`));
    });
    try {
      await Promise.race([channel.connected, tooLong]);
    } finally {
      clearTimeout(timer);
    }
    return new EngineBrowser(channel, origin);
  }

  /** Ends the browser as a crash would: no page gets to do anything more. Idempotent. */
  async kill(): Promise<void> {
    const started = this.#process;
    this.#process = undefined;
    this.#channel?.end('the browser was killed');
    await started?.kill();
  }

  /** Ends the browser and removes what it stored. */
  async remove(): Promise<void> {
    await this.kill();
    removeFolder(this.#folder);
  }
}
