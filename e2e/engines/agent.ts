// What drives a browser from inside, where there is no driver: a page that takes calls from the server
// it came from, runs them in the tabs it has opened, and posts back what they answer. All three
// engines can do that, at their full speed.

/** A function to run in a tab. */
export interface AgentCall {
  readonly call: number;
  /** 0 is the agent's own page. */
  readonly tab: number;
  /** An expression. */
  readonly source: string;
}

/** What came of it: `value` as JSON, or `error`. */
export interface AgentAnswer {
  readonly call: number;
  readonly value?: string | undefined;
  readonly error?: string;
}

/** The agent's global object. */
export interface AgentWindow extends Window {
  /** By number, from 1 on. */
  tabs: Record<number, Window & { eval(source: string): unknown }>;
}

/** Runs in the page, which has its text only: it can use nothing from outside. */
export function agent(): void {
  const self = window as unknown as AgentWindow;
  self.tabs = { 0: self as unknown as AgentWindow['tabs'][0] };
  const run = async ({ call, tab, source }: AgentCall): Promise<AgentAnswer> => {
    try {
      return { call, value: JSON.stringify(await self.tabs[tab]!.eval(source)) };
    } catch (error) {
      const { message, stack } = error as Error;
      return { call, error: `${message ?? String(error)}\n${stack ?? ''}` };
    }
  };
  new EventSource(`calls${location.search}`).onmessage = ({ data }: MessageEvent<string>): void => {
    void run(JSON.parse(data) as AgentCall).then((answer) =>
      fetch(`answers${location.search}`, { method: 'POST', body: JSON.stringify(answer) }),
    );
  };
}
