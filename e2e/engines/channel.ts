// The server's side of the agent: a plugin for vite's preview that serves the agent's page and carries
// calls to it, as server-sent events, and answers back, as posts. It also serves the scripts that
// tests import.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Plugin } from 'vite';
import { type AgentAnswer, type AgentCall, agent } from './agent.ts';

const PREFIX = '/engine-agent/';
const page = `<!doctype html>
<meta charset="utf-8" />
<title>agent</title>
<link rel="icon" href="data:," />
<script type="module">(${agent.toString()})();</script>
`;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Calls to the agent in one browser. */
export class Channel {
  /** Settles when the agent is there. */
  readonly connected: Promise<void>;
  #connect!: (events: ServerResponse) => void;
  #events: ServerResponse | undefined;
  #calls = 0;
  readonly #waiting = new Map<number, Waiting>();
  #ended: Error | undefined;

  constructor() {
    this.connected = new Promise((resolve) => {
      this.#connect = (events): void => {
        this.#events = events;
        resolve();
      };
    });
  }

  /** For the plugin: `events` is the agent's stream. */
  connect(events: ServerResponse): void {
    this.#connect(events);
    events.once('close', () => this.end('the browser is gone'));
  }

  /** For the plugin. */
  answered({ call, value, error }: AgentAnswer): void {
    const waiting = this.#waiting.get(call);
    this.#waiting.delete(call);
    if (error !== undefined) waiting?.reject(new Error(`in the browser: ${error}`));
    else waiting?.resolve(value === undefined ? undefined : JSON.parse(value));
  }

  /**
   * Evaluates `source`, an expression or a promise of one, in a tab. Answers what JSON carries of it.
   * Rejects after `timeout` milliseconds, and at once when the browser ends.
   */
  evaluate(tab: number, source: string, timeout: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) return reject(this.#ended);
      if (this.#events === undefined) return reject(new Error('the browser is not up yet'));
      const call = (this.#calls += 1);
      const timer = setTimeout(() => {
        this.#waiting.delete(call);
        reject(
          new Error(`no answer from the browser within ${timeout} ms: ${source.slice(0, 200)}`),
        );
      }, timeout);
      this.#waiting.set(call, {
        resolve: (value) => (clearTimeout(timer), resolve(value)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
      const message: AgentCall = { call, tab, source };
      this.#events.write(`data: ${JSON.stringify(message)}\n\n`);
    });
  }

  /** Rejects all calls, those to come as well. Idempotent. */
  end(why: string): void {
    this.#ended ??= new Error(why);
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }
}

/** The channels of the browsers that run, by name. */
export class Channels {
  readonly #open = new Map<string, Channel>();
  readonly #scripts: Readonly<Record<string, string>>;
  #made = 0;

  /** `scripts`: by name, what is served at `scriptURL(name)`. */
  constructor(scripts: Readonly<Record<string, string>>) {
    this.#scripts = scripts;
  }

  /** A channel, and the path of the agent's page for it. */
  make(): { channel: Channel; path: string } {
    const name = String((this.#made += 1));
    const channel = new Channel();
    this.#open.set(name, channel);
    return { channel, path: `${PREFIX}?name=${name}` };
  }

  /** Below the server's URL. */
  scriptPath(name: string): string {
    return PREFIX + name;
  }

  /** For vite's preview. */
  plugin(): Plugin {
    const handle = (request: IncomingMessage, response: ServerResponse, next: () => void): void => {
      const url = new URL(request.url ?? '/', 'http://localhost');
      if (!url.pathname.startsWith(PREFIX)) return next();
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      response.setHeader('Cache-Control', 'no-store');
      const what = url.pathname.slice(PREFIX.length);
      const script = this.#scripts[what];
      if (script !== undefined) {
        response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script);
        return;
      }
      const channel = this.#open.get(url.searchParams.get('name') ?? '');
      if (channel === undefined) response.writeHead(404).end();
      else answer(what, channel, request, response);
    };
    return {
      name: 'diskplane:engine-agent',
      configurePreviewServer: (server) => void server.middlewares.use(handle),
    };
  }
}

function answer(
  what: string,
  channel: Channel,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (what === 'calls') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    // The head goes out with the first bytes.
    response.write(':\n\n');
    channel.connect(response);
  } else if (what === 'answers') {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (text: string) => (body += text));
    request.on('end', () => {
      channel.answered(JSON.parse(body) as AgentAnswer);
      response.writeHead(204).end();
    });
  } else {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(page);
  }
}
