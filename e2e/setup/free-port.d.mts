// Types of free-port.mjs, which plain Node runs.

/** A port of 127.0.0.1 that nothing listens on right now; `wanted`, where that is free. */
export declare function freePort(wanted?: number): Promise<number>;
