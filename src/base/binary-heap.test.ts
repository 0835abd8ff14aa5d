import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BinaryHeap } from './binary-heap.ts';

it('gives items in order, whichever left before their turn', () => {
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), key: fc.nat(20) }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.nat(100) }),
    fc.record({ kind: fc.constant('pop' as const) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      type Item = { key: number; order: number; heapIndex: number };
      const before = (a: Item, b: Item): boolean =>
        a.key < b.key || (a.key === b.key && a.order < b.order);
      const heap = new BinaryHeap<Item>(before);
      const model: Item[] = [];
      let order = 0;
      for (const operation of operations) {
        if (operation.kind === 'push') {
          const item = { key: operation.key, order: order++, heapIndex: -1 };
          heap.push(item);
          model.push(item);
          model.sort((a, b) => (before(a, b) ? -1 : 1));
        } else if (operation.kind === 'pop') {
          expect(heap.pop()).toBe(model.shift());
        } else if (model.length > 0) {
          const [item] = model.splice(operation.at % model.length, 1);
          heap.remove(item!);
          expect(item!.heapIndex).toBe(-1);
        }
        expect(heap.size).toBe(model.length);
        expect(heap.peek()).toBe(model[0]);
      }
    }),
    { numRuns: 200 },
  );
});
