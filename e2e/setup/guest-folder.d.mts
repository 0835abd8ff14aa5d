// Types of guest-folder.mjs, which plain Node runs.

/** Path of the folder with the guest's files; it need not exist. */
export declare function guestFolder(): string;
/** Whether the guest was built. */
export declare function guestExists(): boolean;
