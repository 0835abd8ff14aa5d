// Where the package's drivers lie, for the entry that looks for its worker beside itself. In the
// sources there is nothing to say, since there the worker imports what it needs; the build puts in
// place of this file one with a literal `new URL('./drivers/idb.js', import.meta.url)` for each
// file that it made, which is what bundlers look for.

/** The files that hold parts of the worker, by name. */
export function publishedDriverUrls(): Readonly<Record<string, URL>> {
  return {};
}
