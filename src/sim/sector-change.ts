// What was done to a sector, and when: what the oracle reasons about.

/** One change of one sector. */
export interface Change {
  /** What the sector may hold by it. */
  readonly values: readonly number[];
  /** When it was asked for, and when it was over; ticks of the oracle. */
  readonly issued: number;
  done: number;
  /** It was answered with success, and took effect for certain. */
  sure: boolean;
  /** What it may be one of, where it is no change, but was seen. */
  readonly of?: readonly Change[];
}

/** All that a sector may hold from `at` on. */
export function settled(values: readonly number[], at: number): Change {
  return { values, issued: at, done: at, sure: true };
}

/** The changes that one stands for. */
export function originsOf(change: Change): readonly Change[] {
  return change.of ?? [change];
}

/** Whether one of `by` began after `change` was over. */
export function superseded(change: Change, by: readonly Change[]): boolean {
  return by.some((later) => change.done < later.issued);
}

/** When at the latest `change` showed no more, for another of `changes` did. */
export function endOf(change: Change, changes: readonly Change[]): number {
  const later = changes.filter(({ sure, issued }) => sure && change.done < issued);
  return Math.min(...later.map(({ done }) => done));
}
