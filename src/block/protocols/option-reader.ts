// Reads a driver's options one key at a time and, at the end, refuses what nobody asked for. Values
// may be typed (from code) or text (from dotted keys and URLs); errors name driver, key and value.

import { BlockError } from '../block-error.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

export class OptionReader {
  readonly #driver: string;
  readonly #raw: Readonly<Record<string, unknown>>;
  readonly #known = new Set<string>();

  /** Reads `raw`, the options of `driver`. */
  constructor(driver: string, raw: Readonly<Record<string, unknown>>) {
    this.#driver = driver;
    this.#raw = raw;
  }

  /** True when `key` was given. */
  has(key: string): boolean {
    this.#known.add(key);
    return this.#raw[key] !== undefined;
  }

  /** Text, not empty; undefined when absent. */
  string(key: string): string | undefined {
    if (!this.has(key)) return undefined;
    const value = this.#raw[key];
    if (typeof value !== 'string' || value === '') throw this.bad(key, 'text that is not empty');
    return value;
  }

  /** As `string`, but it must be there. */
  required(key: string): string {
    const value = this.string(key);
    if (value === undefined) {
      throw new BlockError('EINVAL', `${this.#driver}: option '${key}' is missing`);
    }
    return value;
  }

  /** true, false, 'on' or 'off'; `fallback` when absent. */
  boolean(key: string, fallback: boolean): boolean {
    if (!this.has(key)) return fallback;
    const value = this.#raw[key];
    if (value === true || value === 'on' || value === 'true') return true;
    if (value === false || value === 'off' || value === 'false') return false;
    throw this.bad(key, 'true or false');
  }

  /** A number of bytes, also with a suffix K, M, G or T; undefined when absent. */
  bytes(key: string, min: number, max: number): number | undefined {
    if (!this.has(key)) return undefined;
    const value = this.#raw[key];
    const match = /^(\d{1,16})([KMGT]?)$/i.exec(typeof value === 'string' ? value : '');
    const bytes =
      match === null ? value : Number(match[1]) * (UNITS[match[2]!.toUpperCase()] ?? NaN);
    if (typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes >= min && bytes <= max) {
      return bytes;
    }
    throw this.bad(key, `a number of bytes from ${min} to ${max}`);
  }

  /** A number, perhaps with a fraction; `fallback` when absent. */
  number(key: string, fallback: number, min: number, max: number): number {
    if (!this.has(key)) return fallback;
    const value = this.#raw[key];
    const text = typeof value === 'string' && /^\d+(\.\d+)?$/.test(value);
    const number = text ? Number(value) : value;
    if (typeof number === 'number' && number >= min && number <= max) return number;
    throw this.bad(key, `a number from ${min} to ${max}`);
  }

  /** Whatever was given. */
  any(key: string): unknown {
    this.#known.add(key);
    return this.#raw[key];
  }

  /** Refuses keys that were never read. */
  end(): void {
    for (const key of Object.keys(this.#raw)) {
      if (this.#known.has(key) || this.#raw[key] === undefined) continue;
      const known = [...this.#known].sort().join(', ');
      throw new BlockError('EINVAL', `${this.#driver}: unknown option '${key}'; known: ${known}`);
    }
  }

  /** What to throw for a value of `key` that is not `expected`. */
  bad(key: string, expected: string): BlockError {
    const value = this.#raw[key];
    const shown = typeof value === 'object' ? typeof value : JSON.stringify(value);
    const message = `${this.#driver}: option '${key}' must be ${expected}, not ${shown ?? typeof value}`;
    return new BlockError('EINVAL', message);
  }
}
