// A second minifier for the files that are served as they are: Terser finds what the bundler's own, whose
// output it takes, leaves: 500 bytes of the worker, gzipped.

import { minify } from 'terser';

const options = {
  module: true,
  ecma: 2020,
  // No property of ours is read for what reading it does.
  compress: { passes: 3, pure_getters: true, unsafe_methods: true, builtins_pure: true },
  format: { comments: false },
};

/** @returns {import('vite').Plugin} to stand before those that change the files further */
export function terse() {
  return {
    name: 'diskplane:terse',
    enforce: 'pre',
    // It takes most of the time of a build, which the bundler would warn of.
    config: () => ({ build: { rolldownOptions: { checks: { bundlerTimings: false } } } }),
    async generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) file.code = (await minify(file.code, options)).code;
    },
  };
}
