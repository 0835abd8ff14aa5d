// What counts as a prompt, and waiting across pieces.

import { describe, expect, it } from 'vitest';
import { SerialConsole } from './serial-console.ts';

function consoleWith(sent: string[] = []): { line: SerialConsole; say: (text: string) => void } {
  const line = new SerialConsole((text) => sent.push(text));
  return { line, say: (text) => line.receive(new TextEncoder().encode(text)) };
}

describe('SerialConsole', () => {
  it('knows a prompt from a command being typed', () => {
    const { line, say } = consoleWith();
    say('hello\r\nguest# ');
    expect(line.atPrompt).toBe(true);
    say('\x1b[6n');
    expect(line.atPrompt).toBe(true);
    say('ls');
    expect(line.atPrompt).toBe(false);
    say('\r\nnot a guest# ');
    expect(line.atPrompt).toBe(false);
  });

  it('drops escape sequences, also those cut in two', () => {
    const { line, say } = consoleWith();
    for (const part of ['a\x1b', '[1;3', '2mb', '\x1b[0m', 'c\x1b(Bd\x1b[']) say(part);
    expect(line.text).toBe('abcd');
    expect(line.position).toBe(4);
  });

  it('finds what is said in pieces, from a mark on', async () => {
    const { line, say } = consoleWith();
    say('GUEST-READY boots=1\r\n');
    const later = line.waitFor(/GUEST-READY boots=(\d+)\n/);
    say('GUEST-RE');
    say('ADY boots=2\r\n');
    expect((await later)[1]).toBe('2');
    expect((await line.waitFor(/boots=(\d+)/, { from: 0 }))[1]).toBe('1');
  });

  it('types a command and waits for the next prompt, not for the one it stands at', async () => {
    const sent: string[] = [];
    const { line, say } = consoleWith(sent);
    say('guest# ');
    let done = false;
    const run = line.run('sync').then(() => (done = true));
    expect(sent).toEqual(['sync\n']);
    say('sync');
    await Promise.resolve();
    expect(done).toBe(false);
    say('\r\nguest# ');
    await run;
    expect(done).toBe(true);
  });

  it('keeps marks right when it forgets', async () => {
    const { line, say } = consoleWith();
    const chunk = 'x'.repeat(100_000);
    for (let i = 0; i < 8; i++) say(chunk);
    expect(line.position).toBe(800_000);
    expect(line.text.length).toBeLessThanOrEqual(512 * 1024);
    const later = line.waitFor(/needle/);
    say('needle');
    expect((await later).index).toBe(0);
  });

  it('stops waiting when told', async () => {
    const { line } = consoleWith();
    const stop = new AbortController();
    const waiting = line.waitFor(/never/, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});
