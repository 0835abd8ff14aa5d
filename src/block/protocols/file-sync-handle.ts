// A file as a browser's sync access handle shows it (the File System standard, section 2.7): calls
// that answer at once, at any offset. OPFS hands one out; on Node, `file.ts` makes one of a file
// descriptor. So one DriverState, `file-state.ts`, serves both.

/** Where a transfer starts, bytes. The state reuses one object for all its calls. */
export interface SyncTransfer {
  at: number;
}

/** `FileSystemSyncAccessHandle`, which TypeScript declares for workers only. */
export interface SyncHandle {
  /** How it excludes others; absent in browsers with one way only. */
  readonly mode?: string;
  /** Fills `buffer` (perhaps shared memory) from `at`; answers how many bytes, fewer at the end. */
  read(buffer: Uint8Array, options: SyncTransfer): number;
  /** Writes `buffer` at `at`, growing the file; answers how many bytes were taken. */
  write(buffer: Uint8Array, options: SyncTransfer): number;
  /** Sets the size, bytes; new bytes read as zeroes. */
  truncate(size: number): void;
  getSize(): number;
  /** Makes all writes durable. */
  flush(): void;
  /** Lets the file go. Idempotent. */
  close(): void;
  /** Counts of what reached the host, where that is not what was called. */
  counters?(): Record<string, number>;
}
