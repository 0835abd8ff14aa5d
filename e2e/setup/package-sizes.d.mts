/** Bytes gzipped that the worker's own file is to stay below. */
export const WORKER_LIMIT: number;
/** What a page gets, minified or not, measured on dist/. */
export function packageSizes(): { file: string; what: string; bytes: number; gzipped: number }[];
/** Bytes gzipped, by file, as the README says. */
export function sizesInReadme(): Record<string, number>;
