// The rows that compare the two queues: what popping, answering and publishing one request costs in
// WebAssembly and in TypeScript, by requests a batch.

import { sideBySide } from './rounds.ts';
import type { Row } from './row.ts';
import { startParser } from './workers.ts';

export const parseRows: readonly Row[] = [
  parseRow(1, { ratio: 1 }),
  parseRow(16),
  parseRow(64, { ratio: 1.2 }),
];

function parseRow(batch: number, target?: NonNullable<Row['target']>): Row {
  const name = `wasm-parse/batch-${batch}`;
  return {
    name,
    ...(target === undefined ? {} : { target }),
    async run({ rounds }) {
      const wasm = startParser();
      const typescript = startParser();
      let requests = 0;
      try {
        const figures = await sideBySide(
          rounds,
          async (ns) => {
            const sample = await wasm.control.run('wasm', batch, ns);
            requests += sample.requests;
            return sample;
          },
          (ns) => typescript.control.run('typescript', batch, ns),
          async () => {
            requests = 0;
          },
        );
        return {
          name,
          unit: 'ns/request',
          value: 1e9 / figures.value,
          baseline: 1e9 / figures.baseline,
          ratio: figures.ratio,
          counts: { requests, batches: requests / batch },
        };
      } finally {
        wasm.terminate();
        typescript.terminate();
      }
    },
  };
}
