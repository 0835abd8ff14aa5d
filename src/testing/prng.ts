// A small seeded generator, so that a random test that fails can be run again from the seed that it
// prints. The state is one 32-bit counter; its values are hashed (the splitmix construction), which
// is quick, passes for random in tests, and is the same on every engine.

export class Prng {
  readonly seed: number;
  #state: number;

  /** `seed`: any integer; its low 32 bits count. */
  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed | 0;
  }

  /** The next 32 random bits, as an unsigned number. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }

  /** An integer in `[0, n)`; `n` from 1 to 2^53. */
  below(n: number): number {
    if (n <= 0x100000000) return Math.floor((this.next() / 0x100000000) * n);
    return ((this.next() & 0x1fffff) * 0x100000000 + this.next()) % n;
  }

  /** True in `percent` of 100 cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  /** `n` fresh random bytes. */
  bytes(n: number): Uint8Array<ArrayBuffer> {
    const made = new Uint8Array(n);
    const words = new DataView(made.buffer);
    let at = 0;
    for (; at + 4 <= n; at += 4) words.setUint32(at, this.next(), true);
    for (; at < n; at++) made[at] = this.next();
    return made;
  }

  /** One element of `array`, which is not empty. */
  pick<T>(array: ArrayLike<T>): T {
    return array[this.below(array.length)]!;
  }
}
