// One 16-bit x86 instruction to its bytes (Intel's manual, volume 2). Only what the boot program uses,
// and always the long form: the length of an instruction never depends on a value, so that two
// passes settle all labels.

import { AssemblyError } from './operand.ts';
import type { Operand, OperandSize } from './operand.ts';

type Register = Extract<Operand, { kind: 'register' }>;
type Memory = Extract<Operand, { kind: 'memory' }>;

const PLAIN: Readonly<Record<string, number>> = {
  cld: 0xfc,
  cli: 0xfa,
  clc: 0xf8,
  hlt: 0xf4,
  lodsb: 0xac,
  popa: 0x61,
  pusha: 0x60,
  ret: 0xc3,
  scasw: 0xaf,
  stc: 0xf9,
  sti: 0xfb,
  stosw: 0xab,
};
const ARITHMETIC = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];
/** By their condition's code. */
const JUMPS: Readonly<Record<string, number>> = {
  jc: 0x2,
  jnc: 0x3,
  jz: 0x4,
  je: 0x4,
  jnz: 0x5,
  jne: 0x5,
  jbe: 0x6,
  ja: 0x7,
};
/** Opcode of the 16-bit form, and the digit in the reg field. */
const UNARY: Readonly<Record<string, readonly [number, number]>> = {
  inc: [0xff, 0],
  dec: [0xff, 1],
  mul: [0xf7, 4],
  div: [0xf7, 6],
};

/** `address` is where the instruction stands, for jumps. Throws AssemblyError. */
export function encodeInstruction(
  name: string,
  operands: readonly Operand[],
  address: number,
): number[] {
  const bytes =
    plain(name, operands) ??
    jump(name, operands, address) ??
    unary(name, operands) ??
    moves(name, operands) ??
    arithmetic(name, operands) ??
    ports(name, operands);
  if (bytes === undefined) {
    throw new AssemblyError(`'${name}' with these operands is not known to this assembler`);
  }
  return bytes;
}

function plain(name: string, operands: readonly Operand[]): number[] | undefined {
  const opcode = PLAIN[name];
  return opcode === undefined || operands.length > 0 ? undefined : [opcode];
}

function jump(name: string, operands: readonly Operand[], address: number): number[] | undefined {
  const [target, offset] = operands;
  if (target?.kind !== 'value') return undefined;
  if (name === 'jmp' && offset?.kind === 'value') {
    return [0xea, ...word(offset.value), ...word(target.value)];
  }
  if (offset !== undefined) return undefined;
  if (name === 'int') return [0xcd, ...byte(target.value)];
  if (name === 'call') return [0xe8, ...relative(target.value, address + 3)];
  if (name === 'jmp') return [0xe9, ...relative(target.value, address + 3)];
  const condition = JUMPS[name];
  if (condition === undefined) return undefined;
  return [0x0f, 0x80 | condition, ...relative(target.value, address + 4)];
}

function unary(name: string, operands: readonly Operand[]): number[] | undefined {
  const [operand, more] = operands;
  if (operand === undefined || more !== undefined) return undefined;
  if (operand.kind === 'register' && operand.size === 16) {
    if (name === 'push') return [0x50 | operand.code];
    if (name === 'pop') return [0x58 | operand.code];
  }
  const form = UNARY[name];
  if (form === undefined || (operand.kind !== 'register' && operand.kind !== 'memory')) {
    return undefined;
  }
  const [opcode, digit] = form;
  return [opcode - (sizeOf(operand) === 8 ? 1 : 0), ...modRm(digit, operand)];
}

function moves(name: string, operands: readonly Operand[]): number[] | undefined {
  const [to, from] = operands;
  if (name !== 'mov' || to === undefined || from === undefined || operands.length > 2) {
    return undefined;
  }
  if (to.kind === 'segment') {
    const fits = from.kind === 'register' && from.size === 16;
    return fits ? [0x8e, ...modRm(to.code, from)] : undefined;
  }
  if (to.kind === 'value' || from.kind === 'segment') return undefined;
  if (from.kind !== 'value') return between(0x88, to, from);
  const size = sizeOf(to);
  if (to.kind === 'memory') {
    return [size === 8 ? 0xc6 : 0xc7, ...modRm(0, to), ...immediate(from.value, size)];
  }
  return [(size === 8 ? 0xb0 : 0xb8) | to.code, ...immediate(from.value, size)];
}

function arithmetic(name: string, operands: readonly Operand[]): number[] | undefined {
  const [to, from] = operands;
  const digit = ARITHMETIC.indexOf(name);
  const tests = name === 'test';
  if ((digit < 0 && !tests) || to === undefined || from === undefined || operands.length > 2) {
    return undefined;
  }
  if (to.kind !== 'register' && to.kind !== 'memory') return undefined;
  if (from.kind === 'segment') return undefined;
  if (from.kind === 'value') {
    const size = sizeOf(to);
    const opcode = (tests ? 0xf6 : 0x80) + (size === 8 ? 0 : 1);
    return [opcode, ...modRm(tests ? 0 : digit, to), ...immediate(from.value, size)];
  }
  if (!tests) return between(digit << 3, to, from);
  return from.kind === 'register' ? between(0x84, to, from) : undefined;
}

/** `in al, dx`, `out dx, al`, and both with a port below 256. */
function ports(name: string, operands: readonly Operand[]): number[] | undefined {
  if (operands.length !== 2 || (name !== 'in' && name !== 'out')) return undefined;
  const [port, accumulator] = name === 'in' ? [operands[1]!, operands[0]!] : operands;
  if (accumulator!.kind !== 'register' || accumulator!.size !== 8 || accumulator!.code !== 0) {
    return undefined;
  }
  const writes = name === 'out' ? 2 : 0;
  if (port!.kind === 'value') return [0xe4 | writes, ...byte(port!.value)];
  const isDx = port!.kind === 'register' && port!.size === 16 && port!.code === 2;
  return isDx ? [0xec | writes] : undefined;
}

/** Register to register or memory, or memory to register; `opcode` is the form for bytes, to r/m. */
function between(
  opcode: number,
  to: Register | Memory,
  from: Register | Memory,
): number[] | undefined {
  if (to.kind === 'memory' && from.kind === 'memory') return undefined;
  const register = from.kind === 'register' ? from : (to as Register);
  const other = from.kind === 'register' ? to : from;
  if (other.size !== undefined && other.size !== register.size) {
    throw new AssemblyError('the operands differ in size');
  }
  const fromMemory = from.kind === 'memory' ? 2 : 0;
  return [opcode | fromMemory | (register.size === 8 ? 0 : 1), ...modRm(register.code, other)];
}

/** The ModR/M byte and what follows it. */
function modRm(reg: number, operand: Register | Memory): number[] {
  if (operand.kind === 'register') return [0xc0 | (reg << 3) | operand.code];
  const mod = operand.base === 6 ? 0 : 0x80;
  return [mod | (reg << 3) | operand.base, ...word(operand.displacement)];
}

function sizeOf(operand: Register | Memory): OperandSize {
  if (operand.size === undefined) throw new AssemblyError("'byte' or 'word' has to stand before [");
  return operand.size;
}

function immediate(value: number, size: OperandSize): number[] {
  return size === 8 ? byte(value) : word(value);
}

function relative(target: number, next: number): number[] {
  return word((target - next) & 0xffff);
}

function byte(value: number): number[] {
  if (value < -0x80 || value > 0xff) throw new AssemblyError(`${value} does not fit in a byte`);
  return [value & 0xff];
}

function word(value: number): number[] {
  if (value < -0x8000 || value > 0xffff) throw new AssemblyError(`${value} does not fit in a word`);
  return [value & 0xff, (value >> 8) & 0xff];
}
