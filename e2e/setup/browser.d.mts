// Types of browser.mjs, which plain Node runs.

/** Path of a Chromium's program, or `undefined`. Throws where a variable names a missing one. */
export declare function findBrowser(): Promise<string | undefined>;
/** As `findBrowser`, but installs one where that is possible, and throws where it is not. */
export declare function ensureBrowser(): Promise<string>;
