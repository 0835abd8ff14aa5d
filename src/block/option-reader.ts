// Reads a driver's options one key at a time and, at the end, refuses what nobody asked for. Values
// may be typed (from code) or text (from dotted keys and names); errors say driver, key and value.

import { parseSize } from '../base/size.ts';
import { BlockError } from './block-error.ts';

export class OptionReader {
  readonly #driver: string;
  readonly #raw: Readonly<Record<string, unknown>>;
  readonly #known = new Set<string>();

  /** Reads `raw`, the options of `driver`. */
  constructor(driver: string, raw: Readonly<Record<string, unknown>>) {
    this.#driver = driver;
    this.#raw = raw;
  }

  /** Whatever was given; undefined when absent. */
  any(key: string): unknown {
    this.#known.add(key);
    return this.#raw[key];
  }

  /** Text that is not empty; undefined when absent. */
  string(key: string): string | undefined {
    const value = this.any(key);
    if (value === undefined || (typeof value === 'string' && value !== '')) return value;
    throw this.bad(key, 'text that is not empty');
  }

  /** true, false, 'on' or 'off'; undefined when absent. */
  boolean(key: string): boolean | undefined {
    const value = this.any(key);
    if (value === undefined || typeof value === 'boolean') return value;
    if (value === 'on' || value === 'true') return true;
    if (value === 'off' || value === 'false') return false;
    throw this.bad(key, "true or false ('on' or 'off')");
  }

  /** Bytes, as a number or as text (`10G`), from `min` to `max`; undefined when absent. */
  size(key: string, min = 0, max: number = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.any(key);
    if (value === undefined) return undefined;
    const bytes = typeof value === 'string' ? parseSize(value) : value;
    if (typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes >= min && bytes <= max) {
      return bytes;
    }
    throw this.bad(key, `a number of bytes from ${min} to ${max}`);
  }

  /** One of `values`; undefined when absent. */
  choice<T extends string>(key: string, values: readonly T[]): T | undefined {
    const value = this.any(key);
    if (value === undefined || values.includes(value as T)) return value as T | undefined;
    throw this.bad(key, values.map((v) => `'${v}'`).join(' or '));
  }

  /** Refuses keys that were never read. */
  end(): void {
    const unknown = Object.keys(this.#raw).filter(
      (key) => !this.#known.has(key) && this.#raw[key] !== undefined,
    );
    if (unknown.length === 0) return;
    const names = unknown.map((key) => `'${key}'`).join(', ');
    const known = [...this.#known].sort().join(', ');
    throw new BlockError('EINVAL', `${this.#driver}: unknown option ${names}; known: ${known}`);
  }

  /** What to throw for a value of `key` that is not `expected`. */
  bad(key: string, expected: string): BlockError {
    const value = this.#raw[key];
    const shown = typeof value === 'object' ? typeof value : JSON.stringify(value);
    const message = `${this.#driver}: option '${key}' must be ${expected}, not ${shown ?? typeof value}`;
    return new BlockError('EINVAL', message);
  }
}
