// Where an image of the user's own is, and how the page's URL writes it down. Pure.

import type { StoreKind } from './store-kind.ts';

/** Where an image of the user's own is. */
export type ImagePlace =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'stored'; readonly store: StoreKind; readonly name: string }
  /** A file that the user gives anew in each visit. */
  | { readonly kind: 'file'; readonly name: string };

/** Reads `https://…`, `opfs:PATH`, `idb:NAME`, `memory:NAME` or `file:NAME`; undefined for others. */
export function parseImagePlace(where: string): ImagePlace | undefined {
  if (/^https?:\/\/./.test(where)) return { kind: 'url', url: where };
  const [, scheme, name] = /^(opfs|idb|memory|file):(.+)$/.exec(where) ?? [];
  if (name === undefined) return undefined;
  if (scheme === 'file') return { kind: 'file', name };
  return { kind: 'stored', store: scheme as StoreKind, name };
}

const IMAGES = 'diskplane/images';

/** Name under which an image of that name is kept in this browser. */
export function storedName(fileName: string): string {
  const plain = fileName.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+/, '');
  return `${IMAGES}/${plain === '' ? 'disk.img' : plain}`;
}
