// What the oracle throws.

/** A broken promise. */
export class OracleError extends Error {
  override readonly name = 'OracleError';
}
