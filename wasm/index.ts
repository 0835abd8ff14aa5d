// What the module exports: the calls of a split ring by their names, those of a packed ring with
// `packed` before them.

export {
  disableNotification,
  enableNotification,
  fill,
  flush,
  hasAvailable,
  init,
  pop,
  restore,
} from './split-queue';
export {
  disableNotification as packedDisableNotification,
  enableNotification as packedEnableNotification,
  fill as packedFill,
  flush as packedFlush,
  hasAvailable as packedHasAvailable,
  pop as packedPop,
} from './packed-queue';
