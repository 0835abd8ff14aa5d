// The program that reads at random inside the Linux guest, since nothing that comes with the guest can:
// 335 bytes of ELF for i386, written down as an annotated listing, sent as base64 over the serial line.
//
// usage: PATH PROCESSES READS SHIFT BLOCKS SEED
//
// Each of PROCESSES processes does READS reads of 2^SHIFT bytes (64 KiB at most) with O_DIRECT at random
// multiples of that below BLOCKS. Says STX (2) when it begins and ETX (3) when all of them are done, or
// CAN (24) when a read failed.

export const STX = 0x02;
export const ETX = 0x03;
export const CAN = 0x18;

const BASE = 0x08048000;
/** Bytes of the ELF header and its one program header. */
const HEADERS = 84;
/**
 * Bytes of memory: the page with the code, the buffer of 64 KiB, and the variables in a page of their own:
 * an emulator throws compiled code away when its page is written to.
 */
const MEMORY = 0x12000;

// Variables, from 0x08059000 on: processes, reads, shift, blocks, seed, status. Buffer: 0x08049000.
const LISTING = `
59 59 5b                       pop ecx; pop ecx; pop ebx      ; argc, argv[0], PATH
b9 00 40 00 00                 mov ecx, O_DIRECT
6a 05 58 cd 80                 open(ebx, ecx)
89 c5                          mov ebp, eax                   ; a failure shows when it reads
bf 00 90 05 08                 mov edi, &processes
5e                             pop esi                        ; number: the next argument
85 f6 74 16                    test esi, esi; jz start
31 c0                          xor eax, eax
0f b6 0e 46                    movzx ecx, byte [esi]; inc esi ; digit:
83 e9 30 78 08                 sub ecx, '0'; js store         ; the zero at its end
8d 04 80 8d 04 41              lea eax, [5*eax]; lea eax, [ecx+2*eax]
eb ef                          jmp digit
ab eb e5                       stosd; jmp number              ; store:
b1 02 e8 a8 00 00 00           mov cl, STX; call say          ; start:
ff 0d 00 90 05 08 74 19        dec [processes]; jz read       ; fork: the parent reads as well
6a 02 58 cd 80                 fork()
85 c0 75 ef                    test eax, eax; jnz fork
69 05 00 90 05 08 b1 79 37 9e  imul eax, [processes], 0x9e3779b1
01 05 10 90 05 08              add [seed], eax                ; a child's own
69 05 10 90 05 08 0d 66 19 00  imul eax, [seed], 1664525      ; read:
05 5f f3 6e 3c                 add eax, 1013904223
a3 10 90 05 08                 mov [seed], eax
f7 25 0c 90 05 08              mul dword [blocks]             ; edx: which block
8b 0d 08 90 05 08              mov ecx, [shift]
31 ff 0f a5 d7                 xor edi, edi; shld edi, edx, cl
d3 e2 89 d6                    shl edx, cl; mov esi, edx
31 d2 42 d3 e2                 xor edx, edx; inc edx; shl edx, cl
b9 00 90 04 08 89 eb           mov ecx, buffer; mov ebx, ebp
b8 b4 00 00 00 cd 80           pread64(ebx, ecx, edx, edi:esi)
39 d0 75 2d                    cmp eax, edx; jne failed
ff 0d 04 90 05 08 75 b8        dec [reads]; jnz read
83 3d 00 90 05 08 00 75 2e     cmp [processes], 0; jne done   ; a child
83 cb ff b9 14 90 05 08        or ebx, -1; mov ecx, &status   ; wait:
31 d2 6a 07 58 cd 80           waitpid(ebx, ecx, 0)
85 c0 78 14                    test eax, eax; js over         ; no child is left
83 3d 14 90 05 08 00 74 e4     cmp [status], 0; je wait
b1 18 e8 13 00 00 00           mov cl, CAN; call say          ; failed:
6a 01 eb 09                    push 1; jmp exit
b1 03 e8 08 00 00 00           mov cl, ETX; call say          ; over:
6a 00                          push 0                         ; done:
5b 6a 01 58 cd 80              exit(pop)                      ; exit:
88 0d 14 90 05 08              mov [status], cl               ; say:
b9 14 90 05 08 31 db 43 89 da  ecx = &status; ebx = edx = 1
6a 04 58 cd 80                 write(ebx, ecx, edx)
83 25 14 90 05 08 00 c3        and [status], 0; ret
`;

/** The program as a file. */
export function guestProgram(): Uint8Array {
  const code = LISTING.split('\n').flatMap((line) => {
    const bytes = /^(?:[0-9a-f]{2} )*/.exec(line)![0].trim();
    return bytes === '' ? [] : bytes.split(' ').map((byte) => parseInt(byte, 16));
  });
  const file = new Uint8Array(HEADERS + code.length);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]); // ELF, 32 bits, little-endian
  file.set(code, HEADERS);
  const view = new DataView(file.buffer);
  const half = (at: number, value: number): void => view.setUint16(at, value, true);
  const word = (at: number, value: number): void => view.setUint32(at, value, true);
  half(16, 2); // e_type: ET_EXEC
  half(18, 3); // e_machine: EM_386
  word(20, 1); // e_version
  word(24, BASE + HEADERS); // e_entry
  word(28, 52); // e_phoff
  half(40, 52); // e_ehsize
  half(42, 32); // e_phentsize
  half(44, 1); // e_phnum
  word(52, 1); // p_type: PT_LOAD
  word(60, BASE); // p_vaddr
  word(64, BASE); // p_paddr
  word(68, file.length); // p_filesz
  word(72, MEMORY); // p_memsz
  word(76, 7); // p_flags: read, write, execute
  word(80, 0x1000); // p_align
  return file;
}
