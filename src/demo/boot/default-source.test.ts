// Which guest boots where the URL names none, and whose disk a reset empties.

import { describe, expect, it } from 'vitest';
import { BlockError } from '../../block/block-error.ts';
import type { BootPlan } from './boot-plan.ts';
import { diskFile } from './disk-file.ts';
import { DefaultSource } from './default-source.ts';

class FakeSource {
  readonly title: string;
  resets = 0;
  there = true;
  error: Error | undefined;

  constructor(title: string) {
    this.title = title;
  }
  async exists(): Promise<boolean> {
    if (this.error !== undefined) throw this.error;
    return this.there;
  }
  async prepare(): Promise<BootPlan> {
    return {
      title: this.title,
      blockdev: { driver: 'null-co' },
      memoryBytes: 0,
      kernel: undefined,
      talk: undefined,
      remark: undefined,
      thread: undefined,
      writesTo: diskFile('memory', 'none'),
      overlay: true,
      fileName: 'none',
    };
  }
  async reset(): Promise<void> {
    this.resets++;
  }
}

const { signal } = new AbortController();

describe('DefaultSource', () => {
  it('takes Linux where it is, the embedded guest with a word where it is not, anew each time', async () => {
    const linux = new FakeSource('Linux');
    const embedded = new FakeSource('embedded');
    const source = new DefaultSource(linux, embedded);
    expect(await source.prepare(() => {}, signal, 'boot')).toMatchObject({ title: 'Linux' });
    linux.there = false;
    const plan = await source.prepare(() => {}, signal, 'boot');
    expect(plan).toMatchObject({ title: 'embedded' });
    expect(plan.remark).toContain('npm run guest');
    expect(source.title).toBe('embedded');
    await source.reset();
    expect([linux.resets, embedded.resets]).toEqual([0, 1]);
    linux.there = true;
    await source.reset();
    expect([linux.resets, embedded.resets]).toEqual([1, 1]);
  });

  it('does not take a server in trouble for a guest that is not there', async () => {
    const linux = new FakeSource('Linux');
    linux.error = new BlockError('EIO', 'HTTP status 500');
    const source = new DefaultSource(linux, new FakeSource('embedded'));
    await expect(source.prepare(() => {}, signal, 'boot')).rejects.toThrow('HTTP status 500');
  });
});
