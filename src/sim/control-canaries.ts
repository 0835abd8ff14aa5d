// Bugs on purpose in what is done to a disk, or to all of them, as a whole: reopens, resets, the end.

import { OK } from '../base/ret.ts';
import { AbsentState } from '../block/absent-state.ts';
import type { BlockChild } from '../block/block-child.ts';
import { BlockNode } from '../block/block-node.ts';
import { WriteWatch } from '../block/jobs/write-watch.ts';
import { Quiescence } from '../block/quiescence.ts';
import { withoutFlushes } from './canary.ts';
import type { Canary, Patch } from './canary.ts';
import { DISK } from './sim-machine.ts';
import type { Upheaval } from './sim-machine.ts';
import type { ScenarioSeams } from './sim-scenario.ts';

/** Seams that tell when `what` is under way. */
function during(what: Upheaval): { readonly seams: ScenarioSeams; readonly on: () => boolean } {
  let within = 0;
  const seams: ScenarioSeams = {
    during: async (which, run) => {
      const counts = which === what ? 1 : 0;
      within += counts;
      try {
        await run();
      } finally {
        within -= counts;
      }
    },
  };
  return { seams, on: () => within > 0 };
}

/** Has `what` make nothing durable of `nodes`; a qcow2 image flushes once more as it is closed. */
function unflushed(
  patch: Patch,
  what: Upheaval,
  nodes: (node: BlockNode) => boolean = () => true,
): ScenarioSeams {
  const { seams, on } = during(what);
  for (const method of ['flush', 'lastFlush'] as const) {
    patch(BlockNode.prototype, method, (original) => function () {
      return on() && nodes(this) ? OK : original.call(this);
    }); // prettier-ignore
  }
  return seams;
}

export const CONTROL_CANARIES: readonly Canary[] = [
  {
    name: 'a reopen without flushes',
    plant: (patch) => unflushed(patch, 'reopen'),
  },
  {
    name: 'an inactivation without flushes',
    plant: (patch) => unflushed(patch, 'inactivate'),
  },
  {
    name: 'a flush of all without flushes',
    plant: (patch) => unflushed(patch, 'flushAll'),
  },
  {
    name: 'a failed reopen that does not put the old children back',
    plant: (patch) => {
      const { seams, on } = during('reopen');
      const last = new WeakMap<BlockNode, readonly BlockChild[]>();
      patch(BlockNode.prototype, 'become', (original) => function (opened) {
        // Only who goes back has the very edges that he had.
        const back = on() && !(opened.state instanceof AbsentState) && last.get(this) === opened.children;
        if (!(opened.state instanceof AbsentState)) last.set(this, opened.children);
        original.call(this, back ? { ...opened, children: [] } : opened);
      }); // prettier-ignore
      return seams;
    },
  },
  {
    name: 'a reset that does not count as a change',
    plant: (patch) => {
      patch(BlockNode.prototype, 'makeEmpty', (original) => async function (signal) {
        await original.call(this, signal);
        this.books.writeGen -= 1;
      }); // prettier-ignore
    },
  },
  {
    name: 'a reset without flushes',
    plant: (patch) => withoutFlushes(patch, 'makeEmpty'),
  },
  {
    name: 'an end that does not wait for requests',
    plant: (patch) => {
      const { seams, on } = during('closeAll');
      patch(Quiescence.prototype, 'settle', (original) => function () {
        return on() ? Promise.resolve() : original.call(this);
      }); // prettier-ignore
      return seams;
    },
  },
  {
    name: 'a copy that does not see what is written meanwhile',
    plant: (patch) => {
      patch(WriteWatch.prototype, 'check', () => () => {});
      patch(WriteWatch.prototype, 'end', () => () => Promise.resolve());
    },
  },
  {
    name: 'an overlay emptied before what it held is durable in the base',
    plant: (patch) =>
      unflushed(
        patch,
        'commit',
        ({ driver, options }) => driver !== 'qcow2' && options['disk'] !== 'top',
      ),
  },
  {
    name: 'a commit that skips a cluster',
    plant: (patch, prng) => {
      const { seams, on } = during('commit');
      patch(BlockNode.prototype, 'blockStatus', (original) => async function (offset, bytes) {
        const status = await original.call(this, offset, bytes);
        if (typeof status === 'number' || !on() || this.name !== DISK || prng.chance(80)) return status;
        return { ...status, allocated: false };
      }); // prettier-ignore
      return seams;
    },
  },
  {
    name: 'a commit that leaves in the overlay what it held',
    plant: (patch) => {
      const { seams, on } = during('commit');
      patch(BlockNode.prototype, 'become', (original) => function (opened) {
        const { state } = opened;
        const makeEmpty = state.makeEmpty?.bind(state);
        if (makeEmpty !== undefined) Object.assign(state, { makeEmpty: () => (on() ? OK : makeEmpty()) });
        original.call(this, opened);
      }); // prettier-ignore
      return seams;
    },
  },
];
