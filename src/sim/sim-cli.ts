// `npm run sim`: runs seeds, or one with its whole trace. The last line sums up; exit status 1 means that
// a seed failed, and its seed, its last events and the command that runs it again stand above.

import { parseArgs } from 'node:util';
import { formatRecord } from '../testing/sim-trace.ts';
import type { SimRecord } from '../testing/sim-trace.ts';
import { CANARIES } from './canaries.ts';
import { runWithCanary } from './canary.ts';
import { runSeed } from './sim-scenario.ts';
import type { ScenarioResult } from './sim-scenario.ts';

const HELP = `npm run sim -- [options]
  --seeds N    how many seeds (2000)
  --start S    the first of them (1)
  --seed X     one seed alone
  --trace      prints every event of it
  --canaries   plants bugs on purpose, one at a time, and looks for each in 500 seeds at most
  --help`;

/** A canary is found within so many seeds. */
const CANARY_SEEDS = 500;
/** So many seeds are run twice. */
const REPLAYED = 25;
/** With fewer seeds nobody asks how often what happened. */
const ENOUGH_SEEDS = 1000;
/** What has to happen, on average in one seed of a hundred at least. */
const KINDS = [
  'read', 'write', 'zeroes', 'discard', 'flush', 'failed request', 'guest reset',
  'move', 'drain', 'check', 'resize', 'map', 'convert', 'generation', 'failed act', 'power cut', 'shutdown', 'inspection',
  'drain all', 'flush all', 'export', 'reopen', 'reopen read-only', 'reopen over another backing', 'reopen over another file',
  'reopen refused', 'inactivate', 'activate', 'activate refused', 'make empty', 'commit', 'close all',
]; // prettier-ignore

/** What was tried, whether or not it went well. */
const ASKED = 'asked: ';

type Print = (line: string) => void;

function integer(text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isSafeInteger(value)) throw new Error(`'${text}' is no number\n${HELP}`);
  return value;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string' },
      start: { type: 'string' },
      seed: { type: 'string' },
      trace: { type: 'boolean', default: false },
      canaries: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  if (values.help) print(HELP);
  if (values.help) return 0;
  if (values.canaries) return canaries(print);
  if (values.seed !== undefined) return one(integer(values.seed, 1), values.trace, print);
  return many(integer(values.start, 1), integer(values.seeds, 2000), print);
}

/** Runs a seed. What code threw where nobody listens, an assertion within a callback say, fails it as well. */
async function watched(run: () => Promise<ScenarioResult>): Promise<ScenarioResult> {
  const thrown: unknown[] = [];
  const note = (error: unknown): void => void thrown.push(error);
  process.on('unhandledRejection', note);
  try {
    const result = await run();
    // Rejections are told once the promise jobs are over.
    await new Promise((resolve) => setImmediate(resolve));
    if (thrown.length === 0) return result;
    const [first] = thrown;
    const why = first instanceof Error ? (first.stack ?? first.message) : String(first);
    return { ...result, failure: `seed ${result.seed}: thrown, and not caught: ${why}` };
  } finally {
    process.off('unhandledRejection', note);
  }
}

/** One seed, perhaps with all that happens. */
async function one(seed: number, trace: boolean, print: Print): Promise<number> {
  const onRecord = trace ? (record: SimRecord) => print(formatRecord(record)) : undefined;
  const { failure, events, hash } = await watched(() => runSeed(seed, {}, onRecord));
  if (failure !== undefined) print(`\n${failure}\n`);
  const how = failure === undefined ? 'passed' : 'failed';
  print(`seed ${seed} ${how}: ${events} events, history ${hash.toString(16).padStart(8, '0')}`);
  return failure === undefined ? 0 : 1;
}

/** Seeds one after the other, the first few of them twice: a seed is one history. */
async function many(start: number, seeds: number, print: Print): Promise<number> {
  const began = performance.now();
  const counts = new Map<string, number>();
  let [events, failed] = [0, 0];
  for (let seed = start; seed < start + seeds; seed++) {
    const result = await watched(() => runSeed(seed));
    let { failure } = result;
    events += result.events;
    for (const [kind, n] of result.counts) counts.set(kind, (counts.get(kind) ?? 0) + n);
    if (seed < start + REPLAYED && (await runSeed(seed)).hash !== result.hash) {
      failure ??= `seed ${seed} had another history when it was run again`;
    }
    if (failure === undefined) continue;
    failed += 1;
    print(`\n${failure}\nagain: npm run sim -- --seed ${seed} --trace\n`);
  }
  const kinds = [...counts.keys()].filter((kind) => !kind.startsWith(ASKED)).sort();
  for (const kind of new Set([...KINDS, ...kinds])) {
    const n = counts.get(kind) ?? 0;
    const asked = counts.get(`${ASKED}${kind}`);
    print(`${String(n).padStart(9)}  ${kind}${asked === undefined ? '' : `, of ${asked}`}`);
    if (seeds < ENOUGH_SEEDS || !KINDS.includes(kind) || n >= seeds / 100) continue;
    failed += 1;
    print(`'${kind}' happened too seldom for ${seeds} seeds`);
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const last = start + seeds - 1;
  print(`seeds ${start}-${last}: ${failed} failed, ${events} events, ${seconds} s`);
  return failed > 0 ? 1 : 0;
}

/** Finds every canary, or fails. */
async function canaries(print: Print): Promise<number> {
  const began = performance.now();
  let missed = 0;
  for (const canary of CANARIES) {
    let failure: string | undefined;
    let seed = 0;
    while (failure === undefined && seed < CANARY_SEEDS) {
      failure = (await watched(() => runWithCanary(++seed, canary))).failure;
    }
    if (failure === undefined) missed += 1;
    const how = failure?.split('\n')[0] ?? `NOT FOUND in ${CANARY_SEEDS} seeds`;
    print(`canary '${canary.name}': ${how}`);
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  print(`${CANARIES.length} canaries: ${missed} not found, ${seconds} s`);
  return missed > 0 ? 1 : 0;
}

process.exitCode = await main();
