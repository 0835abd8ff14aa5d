// The examples of the README, as its readers see them. A comment in its first line names the file that an
// example is; the tests put it there.

import { readFileSync } from 'node:fs';

/** A fenced block. */
export interface Example {
  /** After the fence; empty for what is no program. */
  readonly language: string;
  /** File name in its first line, where there is one. */
  readonly file: string | undefined;
  /** Without the fence, and without '> ' where it is quoted. */
  readonly code: string;
}

/** All examples of a README, in order. */
export function readExamples(path: string): readonly Example[] {
  const text = readFileSync(path, 'utf8').replace(/^> ?/gm, '');
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => {
    const [, file] = /^(?:\/\/|<!--) ([\w-]+(?:\.\w+)+)(?: -->)?\n/.exec(code) ?? [];
    return { language, file, code };
  });
}

/** The example that is the file `name`. */
export function exampleNamed(examples: readonly Example[], name: string): string {
  const found = examples.filter(({ file }) => file === name);
  if (found.length !== 1) throw new Error(`the README has ${found.length} examples named ${name}`);
  return found[0]!.code;
}
