// The assembler, instruction by instruction: the bytes were checked by disassembling them with objdump.
// Then labels, data and its complaints.

import { describe, expect, it } from 'vitest';
import { assemble } from './assemble.ts';

function hex(source: string): string {
  return Buffer.from(assemble(source).bytes).toString('hex');
}

describe('assemble', () => {
  it.each([
    ['mov ds, ax', '8ed8'],
    ['mov al, 0x42', 'b042'],
    ['mov si, 0x1234', 'be3412'],
    ['mov bx, sp', '89e3'],
    ['mov ch, dl', '88d5'],
    ['mov cx, [0x9c0c]', '8b0e0c9c'],
    ['mov [0x9c0c], ax', '89060c9c'],
    ['mov ax, [si]', '8b840000'],
    ['mov [di+4], bl', '889d0400'],
    ['mov [bx+0x300], dx', '89970003'],
    ['mov word [0x7d00], 0x1234', 'c706007d3412'],
    ['mov byte [si+1], 7', 'c684010007'],
    ["add al, '0'", '80c030'],
    ['add ax, dx', '01d0'],
    ['or bl, 1', '80cb01'],
    ['adc cx, [si]', '138c0000'],
    ['sbb [di], ax', '19850000'],
    ['and al, 0x0f', '80e00f'],
    ['sub [0x7e00], cx', '290e007e'],
    ['xor bx, bx', '31db'],
    ['cmp word [si], 6144', '81bc00000018'],
    ['cmp al, 3', '80f803'],
    ['inc cx', 'ffc1'],
    ['inc word [0x9c08]', 'ff06089c'],
    ['dec byte [si]', 'fe8c0000'],
    ['mul dx', 'f7e2'],
    ['div bx', 'f7f3'],
    ['push dx', '52'],
    ['pop si', '5e'],
    ['int 0x13', 'cd13'],
    ['in al, dx', 'ec'],
    ['in al, 0x60', 'e460'],
    ['out dx, al', 'ee'],
    ['out 0x64, al', 'e664'],
    ['cld', 'fc'],
    ['cli', 'fa'],
    ['clc', 'f8'],
    ['hlt', 'f4'],
    ['lodsb', 'ac'],
    ['popa', '61'],
    ['pusha', '60'],
    ['ret', 'c3'],
    ['scasw', 'af'],
    ['stc', 'f9'],
    ['sti', 'fb'],
    ['stosw', 'ab'],
    ['mov dx, es', undefined],
    ['test al, 0x20', 'f6c020'],
    ['test cx, cx', '85c9'],
    ['jmp 0:0x7c05', 'ea057c0000'],
  ])('%s', (source, bytes) => {
    if (bytes === undefined) expect(() => hex(source)).toThrow('not known');
    else expect(hex(source)).toBe(bytes);
  });

  it('finds labels before and behind, relative to the next instruction', () => {
    const source = `
        org 0x100
back:   jmp ahead       ; three bytes each
        call back
        jc ahead
        jbe back
ahead:`;
    expect(hex(source)).toBe('e90b00' + 'e8faff' + '0f820400' + '0f86f2ff');
    const { symbols } = assemble(source);
    expect([...symbols]).toEqual([
      ['back', 0x100],
      ['ahead', 0x10e],
    ]);
  });

  it('lays out data', () => {
    expect(hex('n equ 2*3-1\ndb "a;b, \'c\'", n, \';\' ; "comment"')).toBe(
      '613b622c2027632705' + '3b',
    );
    expect(hex('x: dw x+1, 0xaa55\npad 6\ndb 1')).toBe('010055aa000001');
  });

  it.each([
    ['mov ax, bl', 'line 1: the operands differ in size'],
    ['\n  inc [si]', "line 2: 'byte' or 'word'"],
    ['mov al, 256', 'line 1: 256 does not fit in a byte'],
    ['mov ax, 65536', 'line 1: 65536 does not fit in a word'],
    ['jmp nowhere', "line 1: 'nowhere' is not defined"],
    ['a:\na:', "line 2: 'a' is there twice"],
    ['nop nop', "line 1: 'nop' with these operands is not known"],
    ['mov ax, 1, 2', 'line 1'],
    ['db 1+', "line 1: '1+' is not a value"],
    ['db 1, 2\npad 1', 'line 2: there are 2 bytes already'],
    ['pad 999999999', 'line 1'],
    ['pad later\nlater equ 5', "line 1: 'later' is not defined before"],
  ])('complains of %j', (source, words) => {
    expect(() => assemble(source)).toThrow(words);
  });
});
