// What the module for split rings exports.

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
