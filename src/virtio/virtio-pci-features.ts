// Feature negotiation of a virtio-pci transport (virtio 1.2, 2.2 and 4.1.4.3): 64 bits a side, seen
// through windows of 32.

export class VirtioPciFeatures {
  /** device_feature_select and driver_feature_select. */
  deviceSelect = 0;
  driverSelect = 0;
  readonly #offered: readonly number[];
  readonly #driver: number[] = [0, 0];
  #overreached = false;

  constructor(offered: bigint) {
    this.#offered = [Number(offered & 0xffffffffn), Number(offered >> 32n)];
  }

  reset(): void {
    this.deviceSelect = 0;
    this.driverSelect = 0;
    this.#driver.fill(0);
    this.#overreached = false;
  }

  /** device_feature and driver_feature: what the selected windows show. */
  get device(): number {
    return this.#offered[this.deviceSelect] ?? 0;
  }
  get driver(): number {
    return this.#driver[this.driverSelect] ?? 0;
  }
  set driver(value: number) {
    const window = this.driverSelect;
    const offered = this.#offered[window] ?? 0;
    if ((value & ~offered) !== 0) this.#overreached = true;
    if (window < 2) this.#driver[window] = (value & offered) >>> 0;
  }

  /** True when the driver asked for a feature that was not offered. */
  get overreached(): boolean {
    return this.#overreached;
  }
  /** Whether feature `bit` was offered and taken. */
  has(bit: number): boolean {
    return ((this.#driver[bit >> 5]! >>> (bit & 31)) & 1) === 1;
  }
  /** What was taken, as one mask. */
  get negotiated(): bigint {
    return (BigInt(this.#driver[1]!) << 32n) | BigInt(this.#driver[0]!);
  }

  /** What was taken, bits 0-31 and 32-63. */
  save(): readonly [number, number] {
    return [this.#driver[0]!, this.#driver[1]!];
  }
  restore(taken: readonly [number, number]): void {
    for (const i of [0, 1]) this.#driver[i] = (taken[i]! & this.#offered[i]!) >>> 0;
  }
}
