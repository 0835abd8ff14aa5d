// Operands of 16-bit x86 instructions, from their text: registers, memory, numbers and labels. Memory
// is `[label]`, `[si+4]` or the like, with `byte` or `word` before it where no register tells.

/** What is wrong with a line of the source; the assembler adds which line. */
export class AssemblyError extends Error {
  override readonly name = 'AssemblyError';
}

/** Answers the value of a symbol. Throws AssemblyError where there is none. */
export type ResolveSymbol = (name: string) => number;

export type OperandSize = 8 | 16;

export type Operand =
  | { readonly kind: 'register'; readonly size: OperandSize; readonly code: number }
  | { readonly kind: 'segment'; readonly code: number }
  | {
      readonly kind: 'memory';
      readonly size: OperandSize | undefined;
      /** The r/m field; 6 is an address without a register. */
      readonly base: number;
      readonly displacement: number;
    }
  | { readonly kind: 'value'; readonly value: number };

const WORDS = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const BYTES = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds'];
const BASES: Readonly<Record<string, number>> = { si: 4, di: 5, bx: 7 };
const TERM = /^\s*(?:0x([0-9a-f]+)|([0-9]+)|'(.)'|([a-z_$][a-z0-9_]*))\s*/i;

/** Reads one operand. Throws AssemblyError. */
export function parseOperand(text: string, resolve: ResolveSymbol): Operand {
  const word = WORDS.indexOf(text);
  if (word >= 0) return { kind: 'register', size: 16, code: word };
  const byte = BYTES.indexOf(text);
  if (byte >= 0) return { kind: 'register', size: 8, code: byte };
  const segment = SEGMENTS.indexOf(text);
  if (segment >= 0) return { kind: 'segment', code: segment };
  const memory = /^(?:(byte|word)\s*)?\[([^\]]+)\]$/.exec(text);
  if (memory === null) return { kind: 'value', value: evaluate(text, resolve) };
  const [, sizeName, inside] = memory;
  const size = sizeName === undefined ? undefined : sizeName === 'byte' ? 8 : 16;
  const based = /^(si|di|bx)\s*(?:\+(.*))?$/.exec(inside!);
  if (based === null) {
    return { kind: 'memory', size, base: 6, displacement: evaluate(inside!, resolve) };
  }
  const [, base, rest] = based;
  const displacement = rest === undefined ? 0 : evaluate(rest, resolve);
  return { kind: 'memory', size, base: BASES[base!]!, displacement };
}

/** The value of `a + b - c * d`, taken from left to right. Throws AssemblyError. */
export function evaluate(text: string, resolve: ResolveSymbol): number {
  let value = 0;
  let operator = '+';
  let rest = text;
  for (;;) {
    const term = TERM.exec(rest);
    if (term === null) throw new AssemblyError(`'${text}' is not a value`);
    const [all, hex, decimal, character, symbol] = term;
    const operand =
      hex !== undefined
        ? parseInt(hex, 16)
        : decimal !== undefined
          ? Number(decimal)
          : character !== undefined
            ? character.charCodeAt(0)
            : resolve(symbol!);
    if (operator === '+') value += operand;
    else if (operator === '-') value -= operand;
    else value *= operand;
    rest = rest.slice(all.length);
    if (rest === '') return value;
    operator = rest.charAt(0);
    if (!'+-*'.includes(operator)) throw new AssemblyError(`'${text}' is not a value`);
    rest = rest.slice(1);
  }
}
