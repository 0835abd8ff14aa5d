// A small two-pass assembler for 16-bit x86, in the syntax that nasm made usual: enough for the boot
// program beside it. The first pass learns where the labels are, the second writes the bytes.
//
// Directives: `org ADDRESS`, `NAME equ VALUE`, `db` with strings and numbers, `dw`, and `pad OFFSET`,
// which fills with zeros up to that many bytes from the start.

import { encodeInstruction } from './encode-instruction.ts';
import { AssemblyError, evaluate, parseOperand } from './operand.ts';
import type { ResolveSymbol } from './operand.ts';

/** Most bytes that a program may have: all there is below the address where it ends. */
const MAX_BYTES = 0x8000;
const NAME = /^[a-z_][a-z0-9_]*$/i;

/** A program and where its labels are. */
export interface Assembly {
  readonly bytes: Uint8Array;
  /** Addresses of labels and values of constants. */
  readonly symbols: ReadonlyMap<string, number>;
}

/** Assembles `source`. Throws AssemblyError, which names the line. */
export function assemble(source: string): Assembly {
  const lines = source.split('\n').map((line) => splitLine(line));
  const symbols = new Map<string, number>();
  // Labels further down are not known yet; nothing's length depends on them.
  pass(lines, symbols, true);
  return { bytes: Uint8Array.from(pass(lines, symbols, false)), symbols };
}

interface Line {
  readonly label: string | undefined;
  readonly word: string;
  readonly operands: readonly string[];
}

function pass(lines: readonly Line[], symbols: Map<string, number>, learns: boolean): number[] {
  const bytes: number[] = [];
  let origin = 0;
  const define = (name: string, value: number): void => {
    if (learns && symbols.has(name)) throw new AssemblyError(`'${name}' is there twice`);
    symbols.set(name, value);
  };
  const resolve: ResolveSymbol = (name) => {
    const value = symbols.get(name);
    if (value === undefined && !learns) throw new AssemblyError(`'${name}' is not defined`);
    return value ?? 0;
  };
  const known: ResolveSymbol = (name) => {
    const value = symbols.get(name);
    if (value === undefined) throw new AssemblyError(`'${name}' is not defined before this line`);
    return value;
  };
  lines.forEach(({ label, word, operands }, at) => {
    try {
      if (word === 'equ') return define(label!, evaluate(operands.join(','), known));
      if (label !== undefined) define(label, origin + bytes.length);
      if (word === 'org') origin = evaluate(operands[0] ?? '', known);
      else if (word === 'pad') pad(bytes, evaluate(operands[0] ?? '', known));
      else if (word === 'db' || word === 'dw') bytes.push(...data(word, operands, resolve));
      else if (word !== '') {
        const parsed = operands.map((operand) => parseOperand(operand, resolve));
        bytes.push(...encodeInstruction(word, parsed, origin + bytes.length));
      }
      if (bytes.length > MAX_BYTES) throw new AssemblyError(`more than ${MAX_BYTES} bytes`);
    } catch (error) {
      if (!(error instanceof AssemblyError)) throw error;
      throw new AssemblyError(`line ${at + 1}: ${error.message}`);
    }
  });
  return bytes;
}

function pad(bytes: number[], length: number): void {
  if (length < bytes.length || length > MAX_BYTES) {
    throw new AssemblyError(`there are ${bytes.length} bytes already, and ${length} are meant`);
  }
  while (bytes.length < length) bytes.push(0);
}

function data(word: string, operands: readonly string[], resolve: ResolveSymbol): number[] {
  return operands.flatMap((operand) => {
    const text = /^"(.*)"$/.exec(operand)?.[1];
    if (text !== undefined) return [...text].map((character) => character.charCodeAt(0) & 0xff);
    const value = evaluate(operand, resolve);
    const limit = word === 'db' ? 0xff : 0xffff;
    if (value < 0 || value > limit) throw new AssemblyError(`${value} does not fit in '${word}'`);
    return word === 'db' ? [value] : [value & 0xff, value >> 8];
  });
}

/** Takes a line apart: label, first word, operands. A far address is two operands. */
function splitLine(line: string): Line {
  const code = withoutComment(line).trim();
  const constant = /^(\S+)\s+equ\s+(.*)$/.exec(code);
  if (constant !== null) return { label: constant[1], word: 'equ', operands: [constant[2]!] };
  const labeled = /^([^\s:"']+):\s*(.*)$/.exec(code);
  const label = labeled !== null && NAME.test(labeled[1]!) ? labeled[1] : undefined;
  const rest = label === undefined ? code : labeled![2]!;
  const [, word = '', operands = ''] = /^(\S*)\s*(.*)$/.exec(rest)!;
  return {
    label,
    word,
    operands: splitOperands(word === 'jmp' ? operands.replace(':', ',') : operands),
  };
}

function withoutComment(line: string): string {
  return /^(?:[^;"']|"[^"]*"|'.')*/.exec(line)![0];
}

function splitOperands(text: string): string[] {
  return [...text.matchAll(/(?:[^,"']|"[^"]*"|'.')+/g)].map(([operand]) => operand.trim());
}
