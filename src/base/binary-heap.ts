// A priority queue whose items know their place in it, so that any of them can leave: what timers
// and simulated events wait in. The order must be total, or equals come out in any order.

/** An item carries its place; nobody but the heap writes it. */
export interface HeapItem {
  /** Index in the heap; -1 outside. An item is in one heap at a time. */
  heapIndex: number;
}

export class BinaryHeap<T extends HeapItem> {
  readonly #items: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  /** `before`: a strict total order. The keys of an item in the heap must not change. */
  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The first item, which stays. */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** Adds an item that is in no heap. */
  push(item: T): void {
    this.#items.push(item);
    this.#rise(item, this.#items.length - 1);
  }

  /** Takes the first item out. */
  pop(): T | undefined {
    const first = this.#items[0];
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** Takes an item of this heap out. */
  remove(item: T): void {
    const at = item.heapIndex;
    item.heapIndex = -1;
    const last = this.#items.pop()!;
    if (last === item) return;
    // The last one fills the gap, and belongs above or below it.
    if (at > 0 && this.#before(last, this.#items[(at - 1) >> 1]!)) this.#rise(last, at);
    else this.#sink(last, at);
  }

  #rise(item: T, at: number): void {
    const items = this.#items;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = items[up]!;
      if (!this.#before(item, parent)) break;
      items[at] = parent;
      parent.heapIndex = at;
      at = up;
    }
    items[at] = item;
    item.heapIndex = at;
  }

  #sink(item: T, at: number): void {
    const items = this.#items;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= items.length) break;
      if (down + 1 < items.length && this.#before(items[down + 1]!, items[down]!)) down += 1;
      const child = items[down]!;
      if (!this.#before(child, item)) break;
      items[at] = child;
      child.heapIndex = at;
      at = down;
    }
    items[at] = item;
    item.heapIndex = at;
  }
}
