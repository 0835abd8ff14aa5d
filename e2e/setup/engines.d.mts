// Types of engines.mjs, which plain Node runs.

export type EngineName = 'firefox' | 'webkit';

/** Path of the engine's program, or `undefined`. Throws where a variable names a missing one. */
export declare function findEngine(name: EngineName): string | undefined;
/**
 * As `findEngine`, but installs it where that is possible. Says so where it is not; throws there only
 * under CI on a Debian where it may install.
 */
export declare function ensureEngine(name: EngineName): Promise<string | undefined>;
