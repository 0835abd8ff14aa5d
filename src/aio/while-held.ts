// Runs something with a lock that somebody waits for, or has already, and lets go of it afterwards.

/**
 * Runs `body` when `turn` comes (undefined: it came), and calls `unlock` when `body` is over, also when
 * it fails. Answers at once where neither takes time.
 */
export function whileHeld<T>(
  turn: Promise<void> | undefined,
  body: () => T | Promise<T>,
  unlock: () => void,
): T | Promise<T> {
  if (turn !== undefined) return turn.then(() => whileHeld(undefined, body, unlock));
  let answer: T | Promise<T>;
  try {
    answer = body();
  } catch (error) {
    unlock();
    throw error;
  }
  if (answer instanceof Promise) return answer.finally(unlock);
  unlock();
  return answer;
}
