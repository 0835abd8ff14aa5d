/** What a page gets, minified or not, measured on dist/. */
export function packageSizes(): { file: string; bytes: number; gzipped: number }[];
/** Bytes gzipped, by file, as the README says. */
export function sizesInReadme(): Record<string, number>;
