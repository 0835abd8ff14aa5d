// The worker that plays the guest. One of them drives both sides of a row, by turns, so that the side
// that submits is the same thread and the same code for both.

import { expose } from 'comlink';
import { BrowserHost } from '../../host/browser.ts';
import { Guest } from './guest.ts';
import type { GuestDevice, GuestSample } from './guest.ts';
import type { Workload } from './workload.ts';

const host = new BrowserHost();
const guests: Guest[] = [];

const control = {
  /** Starts a device; answers its number for `run`. */
  attach(device: GuestDevice, workload: Workload): number {
    return guests.push(new Guest(host, device, workload)) - 1;
  },
  run(device: number, depth: number, ns: number): GuestSample {
    return guests[device]!.run(depth, ns);
  },
};

export type GuestControl = typeof control;

expose(control);
