; The embedded guest: a program of 16-bit real-mode code that drives its disk through the BIOS alone.
; It counts boots in a sector of its own, and writes and verifies patterns. Whatever it says goes to
; the serial port and to the text screen; keys come from the serial port or the keyboard.
;
; On the disk, in sectors of 512 bytes (disk-image.ts knows the same numbers):
;   0 to 15    this program; the BIOS loads sector 0, which loads the rest
;   16         the state: 8 bytes "DISKPLN1", then words: boots, seed, sectors of the last pattern
;   2048 on    the pattern
; In memory: the stack below 0x7c00, the program from there to 0x9bff, the state, the buffer.

STATE_LBA       equ 16
PATTERN_LBA     equ 2048
PATTERN_SECTORS equ 6144
PROGRAM_SECTORS equ 16
STATE           equ 0x9c00
STATE_BOOTS     equ STATE+8
STATE_SEED      equ STATE+10
STATE_SECTORS   equ STATE+12
BUFFER_SEGMENT  equ 0x1000
CHUNK_SECTORS   equ 64          ; 32 KiB a request
SERIAL          equ 0x3f8
READ            equ 0x42        ; INT 13h extensions
WRITE           equ 0x43

        org 0x7c00
start:
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, start
        sti
        cld
        jmp 0:begin             ; some BIOSes come by 07c0:0000
begin:
        mov [drive], dl
        mov word [packet_lba], 1
        mov word [packet_count], PROGRAM_SECTORS-1
        mov word [packet_offset], second_part
        mov word [packet_segment], 0
        mov ah, READ
        call disk
        jnc main
        mov si, boot_failed
        call say
stop:
        cli
        hlt
        jmp stop

; Does what AH and the packet say. Carry: it failed, and AH is the BIOS's status.
disk:
        xor al, al
        mov dl, [drive]
        mov si, packet
        int 0x13
        ret

; Says the text at SI, up to a zero.
say:
        lodsb
        test al, al
        jz said
        call put
        jmp say
said:
        ret

; Says the character in AL, on the serial port and on the screen.
put:
        pusha
        push ax
        mov dx, SERIAL+5
put_wait:
        in al, dx
        test al, 0x20           ; the transmitter is free
        jz put_wait
        pop ax
        mov dx, SERIAL
        out dx, al
        mov ah, 0x0e
        xor bx, bx
        int 0x10
        popa
        ret

; Says AX as a decimal number.
say_number:
        pusha
        xor cx, cx
        mov bx, 10
number_divide:
        xor dx, dx
        div bx
        push dx
        inc cx
        test ax, ax
        jnz number_divide
number_digit:
        pop ax
        add al, '0'
        call put
        dec cx
        jnz number_digit
        popa
        ret

drive:          db 0
; A disk address packet: what INT 13h extensions read and write.
packet:         db 16, 0
packet_count:   dw 0
packet_offset:  dw 0
packet_segment: dw 0
packet_lba:     dw 0, 0, 0, 0
boot_failed:    db 13, 10, "BOOT-FAILED: the program cannot be read", 13, 10, 0

        pad 510
        dw 0xaa55               ; what makes it a boot sector
second_part:

main:
        mov ax, 3               ; text, 80 by 25, and clear
        int 0x10
        mov si, banner
        call say
        mov ah, READ
        call state_request
        jc no_state
        call check_magic
        jne no_state
        inc word [STATE_BOOTS]
        mov ah, WRITE
        call state_request
        jc no_count
        mov si, menu
        call say
        mov si, ready
        call say
        mov ax, [STATE_BOOTS]
        call say_number
        call new_line

; Takes a key and does what it says, for ever.
prompt:
        mov si, prompt_text
        call say
        mov word [number], 0
next_key:
        call wait_key
        cmp al, '0'
        jc command
        cmp al, '9'
        ja command
        call add_digit
        jmp next_key
command:
        cmp al, ' '             ; returns and the like mean nothing
        jbe control
        call put
        call new_line
        cmp al, 'w'
        je write_pattern
        cmp al, 'v'
        je verify_pattern
        cmp al, 'm'
        je show_menu
        cmp al, 'r'
        je reboot
        cmp al, 'p'
        je power_off
        mov si, unknown
        call say
show_menu:
        mov si, menu
        call say
        jmp prompt
control:
        cmp al, 3               ; Ctrl-C: begin again
        jne next_key
        call new_line
        jmp prompt

; Appends the digit in AL to [number], which stays at one too many from there on.
add_digit:
        call put
        sub al, '0'
        xor ah, ah
        push ax
        mov ax, [number]
        mov dx, 10
        mul dx
        pop dx
        add ax, dx
        cmp ax, PATTERN_SECTORS
        jbe digit_fits
        mov ax, PATTERN_SECTORS+1
digit_fits:
        mov [number], ax
        ret

; Waits for a key from either side and answers it in AL. The timer's interrupt ends each nap.
wait_key:
        mov dx, SERIAL+5
        in al, dx
        test al, 1              ; a byte has come
        jnz serial_key
        mov ah, 1
        int 0x16
        jnz keyboard_key
        hlt
        jmp wait_key
serial_key:
        mov dx, SERIAL
        in al, dx
        ret
keyboard_key:
        xor ah, ah
        int 0x16
        ret

; `w`: a new seed, its pattern over the sectors, then the state.
write_pattern:
        mov cx, [number]
        test cx, cx
        jnz write_count
        mov cx, 1024
write_count:
        cmp cx, PATTERN_SECTORS
        ja too_many
        mov [STATE_SECTORS], cx
        inc word [STATE_SEED]
        call first_chunk
write_next:
        call next_chunk
        jz write_end
        call fill_buffer
        mov ah, WRITE
        call disk
        jc disk_failed
        call chunk_done
        jmp write_next
write_end:
        mov ah, WRITE
        call state_request
        jc disk_failed
        mov si, write_ok
        jmp say_result
too_many:
        mov si, too_many_text
        call say
        jmp prompt

; `v`: the sectors of the last pattern, compared with what was written.
verify_pattern:
        mov cx, [STATE_SECTORS]
        test cx, cx
        jz verify_none
        call first_chunk
verify_next:
        call next_chunk
        jz verify_end
        mov ah, READ
        call disk
        jc disk_failed
        call check_buffer
        jc verify_bad
        call chunk_done
        jmp verify_next
verify_end:
        mov si, verify_ok
say_result:
        call say
        mov ax, [STATE_SECTORS]
        call say_number
        call new_line
        jmp prompt
verify_bad:
        mov si, verify_failed
        call say
        mov ax, [sector]
        call say_number
        call new_line
        jmp prompt
verify_none:
        mov si, verify_nothing
        call say
        jmp prompt

; Says the status in AH and the first sector of the request that failed.
disk_failed:
        push ax
        mov si, io_error
        call say
        pop ax
        mov al, ah
        xor ah, ah
        call say_number
        mov si, at_lba
        call say
        mov ax, [packet_lba]
        call say_number
        call new_line
        jmp prompt

reboot:
        mov si, rebooting
        call say
        mov al, 0xfe            ; the keyboard controller's reset line
        out 0x64, al
        jmp stop
power_off:
        mov si, off
        call say
        jmp stop
no_state:
        mov si, no_state_text
        call say
        jmp stop
no_count:
        mov si, no_count_text
        call say
        jmp stop

; The packet for the state's sector; AH as for `disk`.
state_request:
        mov word [packet_lba], STATE_LBA
        mov word [packet_count], 1
        mov word [packet_offset], STATE
        mov word [packet_segment], 0
        jmp disk

; Zero flag: the state begins as it should.
check_magic:
        mov si, magic
        mov di, STATE
        mov cx, 4
magic_word:
        mov ax, [si]
        add si, 2
        scasw
        jne magic_end
        dec cx
        jnz magic_word
magic_end:
        ret

; A pass over the first CX sectors of the pattern begins.
first_chunk:
        mov [left], cx
        mov word [packet_lba], PATTERN_LBA
        mov word [packet_offset], 0
        mov word [packet_segment], BUFFER_SEGMENT
        ret

; Sets the packet's count. Zero flag: all is done.
next_chunk:
        mov cx, [left]
        cmp cx, CHUNK_SECTORS
        jbe chunk_fits
        mov cx, CHUNK_SECTORS
chunk_fits:
        mov [packet_count], cx
        test cx, cx
        ret

; On to what comes after this chunk.
chunk_done:
        mov cx, [packet_count]
        add [packet_lba], cx
        sub [left], cx
        ret

; Fills the buffer with the pattern of the packet's sectors.
fill_buffer:
        call point_at_buffer
fill_sector:
        call first_word
        mov cx, 256
fill_word:
        stosw
        call next_word
        dec cx
        jnz fill_word
        inc word [sector]
        dec word [rest]
        jnz fill_sector
        jmp leave_buffer

; Compares the buffer with the pattern. Carry: [sector] differs.
check_buffer:
        call point_at_buffer
check_sector:
        call first_word
        mov cx, 256
check_word:
        scasw
        jne check_bad
        call next_word
        dec cx
        jnz check_word
        inc word [sector]
        dec word [rest]
        jnz check_sector
        call leave_buffer
        clc
        ret
check_bad:
        call leave_buffer
        stc
        ret

point_at_buffer:
        mov ax, BUFFER_SEGMENT
        mov es, ax
        xor di, di
        mov ax, [packet_lba]
        mov [sector], ax
        mov ax, [packet_count]
        mov [rest], ax
        ret

leave_buffer:
        xor ax, ax
        mov es, ax
        ret

; The first word of the pattern of [sector] in AX: a step on from a start of its own.
first_word:
        mov ax, [STATE_SEED]
        mov dx, 31
        mul dx
        add ax, [sector]
; The word after the one in AX.
next_word:
        mov dx, 25173
        mul dx
        add ax, 13849
        ret

new_line:
        push ax
        push si
        mov si, line_end
        call say
        pop si
        pop ax
        ret

number:         dw 0            ; typed so far
left:           dw 0            ; sectors of a pass to go
sector:         dw 0            ; in the buffer: the one at hand
rest:           dw 0            ; in the buffer: how many from there

magic:          db "DISKPLN1"
banner:         db "diskplane embedded guest, on INT 13h", 13, 10, 0
menu:           db "  w  write a pattern over 1024 sectors; 64w: over 64", 13, 10
                db "  v  verify what was written", 13, 10
                db "  r  reboot    p  power off    m  this menu", 13, 10, 0
ready:          db "EMBEDDED-READY boots=", 0
prompt_text:    db "guest# ", 0
unknown:        db "No such command", 13, 10, 0
too_many_text:  db "TOO-MANY: the disk has room for 6144 sectors", 13, 10, 0
write_ok:       db "WRITE-OK sectors=", 0
verify_ok:      db "VERIFY-OK sectors=", 0
verify_failed:  db "VERIFY-FAILED at LBA ", 0
verify_nothing: db "VERIFY-NOTHING: no pattern was written yet", 13, 10, 0
io_error:       db "IO-ERROR status=", 0
at_lba:         db " in the request at LBA ", 0
rebooting:      db "EMBEDDED-OFF reboot", 13, 10, 0
off:            db "EMBEDDED-OFF poweroff", 13, 10, 0
no_state_text:  db "EMBEDDED-NOSTATE: the boot count cannot be read", 13, 10, 0
no_count_text:  db "EMBEDDED-NOSTATE: the boot count cannot be written", 13, 10, 0
line_end:       db 13, 10, 0

        pad PROGRAM_SECTORS*512
