// The edges where a number changes its unit or its digits.

import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatDepth,
  formatDuration,
  formatShare,
} from './format-units.ts';

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.98 KiB'],
    [1536, '1.50 KiB'],
    [10 * 1024, '10.0 KiB'],
    [100 * 1024, '100 KiB'],
    [64 * 1024 ** 2, '64.0 MiB'],
    [1023.9 * 1024 ** 2, '1.00 GiB'],
    [2 ** 50, '1024 TiB'],
  ])('%d', (bytes, text) => expect(formatBytes(bytes)).toBe(text));
});

describe('formatCount', () => {
  it.each([
    [0, '0'],
    [9999, '9999'],
    [10_000, '10.0 k'],
    [999_499, '999 k'],
    [999_500, '1.00 M'],
    [1_234_567, '1.23 M'],
    [5e9, '5.00 G'],
  ])('%d', (count, text) => expect(formatCount(count)).toBe(text));
});

describe('formatShare', () => {
  it('has nothing to say of nothing', () => expect(formatShare(0, 0)).toBe('–'));
  it('is a percentage', () => {
    expect(formatShare(991, 1000)).toBe('99.1 %');
    expect(formatShare(1, 1)).toBe('100 %');
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0 ns'],
    [999, '999 ns'],
    [1500, '1.50 µs'],
    [12_300_000, '12.3 ms'],
    [7e12, '7000 s'],
  ])('%d', (ns, text) => expect(formatDuration(ns)).toBe(text));
});

describe('formatDepth', () => {
  it.each([
    [0.001, '0'],
    [0.031, '0.03'],
    [1.52, '1.5'],
    [31.7, '32'],
  ])('%d', (depth, text) => expect(formatDepth(depth)).toBe(text));
});
