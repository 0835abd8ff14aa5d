// Stands in for a node whose driver is being opened: holds its children by their edges, and makes no
// requests that a drain would have to wait for.

import type { BlockParent } from './quiescence.ts';

/** `label` is for people: `node 'x'`, `the creation of an image`. */
export function openingParent(label: string): BlockParent {
  return {
    label,
    parentDrainedBegin: () => {},
    parentDrainedEnd: () => {},
    idle: () => undefined,
    childResized: () => {},
  };
}
