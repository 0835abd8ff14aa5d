// What the module for packed rings exports: the same names.

export { init, restore } from './split-queue';
export {
  disableNotification,
  enableNotification,
  fill,
  flush,
  hasAvailable,
  pop,
} from './packed-queue';
