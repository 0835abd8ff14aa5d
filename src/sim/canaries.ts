// Bugs on purpose. Each is put around the real code from outside: a method that does less, or too much,
// for as long as one seed runs. The simulation is worth its time only while it finds every one of them.

import { OK } from '../base/ret.ts';
import { MemoryRegion } from '../base/memory-region.ts';
import { BlockBackend } from '../block/block-backend.ts';
import { ClusterMap } from '../block/formats/qcow2/cluster-map.ts';
import { FreedClusters } from '../block/formats/qcow2/freed-clusters.ts';
import { Refcounts } from '../block/formats/qcow2/refcounts.ts';
import { Quiescence } from '../block/quiescence.ts';
import { VirtioBlk } from '../virtio/virtio-blk.ts';
import { withoutFlushes } from './canary.ts';
import type { Canary } from './canary.ts';
import { CONTROL_CANARIES } from './control-canaries.ts';
import { ZERO, sectorNumber, sectorValue } from './sector-value.ts';
import { SimFile } from './sim-file.ts';
import { SimStorageState } from './sim-storage.ts';

const never = new Promise<never>(() => {});

export const CANARIES: readonly Canary[] = [
  ...CONTROL_CANARIES,
  {
    name: 'no flush before an L2 update',
    plant: (patch) => withoutFlushes(patch, 'flush'),
  },
  {
    name: 'a resize without flush',
    plant: (patch) => withoutFlushes(patch, 'truncate'),
  },
  {
    name: 'data made durable after the tables that point to them',
    plant: (patch) => {
      const before = new WeakMap<SimFile, number>();
      patch(SimFile.prototype, 'persist', (original) => function (mark) {
        const last = before.get(this) ?? 0;
        before.set(this, mark);
        original.call(this, mark, (sector, serial) => serial > last && isData(sector));
      }); // prettier-ignore
    },
  },
  {
    name: 'a lost completion',
    plant: (patch, prng) => {
      patch(BlockBackend.prototype, 'pwritev', (original) => function (...request) {
        const ret = original.apply(this, request);
        return typeof ret !== 'number' && prng.chance(5) ? never : ret;
      }); // prettier-ignore
    },
  },
  {
    name: 'a completion delivered twice',
    plant: (_patch, prng) => ({
      onQueue: (queue) => {
        const push = queue.push.bind(queue);
        queue.push = (...done): void => {
          push(...done);
          if (prng.chance(5)) push(...done);
        };
      },
    }),
  },
  {
    name: 'a cluster allocated twice',
    plant: (patch, prng) => {
      let last = 0;
      patch(Refcounts.prototype, 'allocate', (original) => function (clusters) {
        if (last > 0 && clusters === 1 && prng.chance(5)) {
          this.runClusters = 1;
          return last;
        }
        const host = original.call(this, clusters);
        if (host > 0) last = host;
        return host;
      }); // prettier-ignore
    },
  },
  {
    name: 'a cluster freed twice',
    plant: (patch, prng) => {
      patch(FreedClusters.prototype, 'add', (original) => function (host, bytes) {
        original.call(this, host, bytes);
        if (prng.chance(20)) original.call(this, host + bytes, bytes);
      }); // prettier-ignore
    },
  },
  {
    name: 'a freed cluster used again before its table let go of it durably',
    plant: (patch) => {
      let refcounts: Refcounts | undefined;
      patch(Refcounts.prototype, 'allocate', (original) => function (clusters) {
        refcounts = this; // eslint-disable-line @typescript-eslint/no-this-alias
        return original.call(this, clusters);
      }); // prettier-ignore
      patch(FreedClusters.prototype, 'add', (original) => function (host, bytes) {
        if (refcounts === undefined || refcounts.adjust(host, -1) !== OK) {
          original.call(this, host, bytes);
        }
      }); // prettier-ignore
    },
  },
  {
    name: 'a drain that does not wait',
    plant: (patch) => {
      patch(Quiescence.prototype, 'settle', () => () => Promise.resolve());
    },
  },
  {
    name: 'a move that does not wait for what is in flight',
    plant: (patch) => {
      patch(VirtioBlk.prototype, 'pause', () => () => Promise.resolve());
    },
  },
  {
    name: 'a stale L2 entry after a discard',
    plant: (patch, prng) => {
      patch(ClusterMap.prototype, 'setEntry', (original) => function (slice, entry, host, zero) {
        if (host === 0 && prng.chance(20)) return;
        original.call(this, slice, entry, host, zero);
      }); // prettier-ignore
    },
  },
  {
    name: 'zeroes instead of a read error',
    plant: (patch) => {
      patch(SimStorageState.prototype, 'preadv', (original) => function (offset, qiov) {
        const hide = (ret: number): number => {
          if (ret < 0) qiov.fill(0);
          return OK;
        };
        const ret = original.call(this, offset, qiov);
        return typeof ret === 'number' ? hide(ret) : ret.then(hide);
      }); // prettier-ignore
    },
  },
  {
    name: 'a flush answered early',
    plant: (patch, prng) => {
      patch(BlockBackend.prototype, 'flush', (original) => function () {
        return prng.chance(30) ? OK : original.call(this);
      }); // prettier-ignore
    },
  },
  {
    name: 'a torn write acknowledged',
    plant: (patch) => {
      patch(SimStorageState.prototype, 'pwritev', (original) => function (offset, qiov) {
        const ret = original.call(this, offset, qiov);
        return typeof ret === 'number' ? OK : ret.then(() => OK);
      }); // prettier-ignore
    },
  },
  {
    name: 'a lost interrupt',
    plant: (_patch, prng) => ({
      interrupt: (deliver) => {
        if (!prng.chance(5)) deliver();
      },
    }),
  },
  {
    name: 'a file that is not let go of',
    plant: (patch, prng) => {
      patch(SimStorageState.prototype, 'close', (original) => function () {
        return prng.chance(20) ? Promise.resolve() : original.call(this);
      }); // prettier-ignore
    },
  },
  {
    name: 'requests that write to guest memory after a reset',
    plant: (patch) => {
      patch(MemoryRegion.prototype, 'revoke', () => () => {});
    },
  },
  {
    name: 'a write of half of the data',
    plant: (patch, prng) => {
      patch(BlockBackend.prototype, 'pwritev', (original) => function (offset, qiov, flags) {
        if (qiov.size < 1024 || !prng.chance(5)) return original.call(this, offset, qiov, flags);
        return original.call(this, offset, qiov.slice(0, qiov.size / 2), flags);
      }); // prettier-ignore
    },
  },
];

/** A sector that the guest wrote, rather than one of tables. */
function isData(sector: Uint8Array): boolean {
  const value = sectorValue(sector, 0, sectorNumber(sector));
  return value !== undefined && value !== ZERO;
}
