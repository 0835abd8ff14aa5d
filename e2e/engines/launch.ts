// How each engine is started: with a profile folder of its own, no first-run pages, no calls home, and
// tabs that scripts may open. The settings are the ones that the tests need; see also
// DISKPLANE_FIREFOX and DISKPLANE_WEBKIT in e2e/setup/engines.mjs.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EngineName, findEngine } from '../setup/engines.mjs';
import { ProcessGroup } from './process-group.ts';

/** Firefox's preferences, by name. */
export type Preferences = Readonly<Record<string, string | number | boolean>>;

export interface LaunchOptions {
  /** Keeps what the browser stores. */
  readonly folder: string;
  readonly url: string;
  /** More of them, for Firefox. */
  readonly preferences?: Preferences | undefined;
}

const QUIET_FIREFOX: Preferences = {
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.newtab.preload': false,
  'browser.newtabpage.enabled': false,
  'browser.safebrowsing.downloads.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  // A killed browser's tabs would come back and hold its disks.
  'browser.sessionstore.resume_from_crash': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.homepage_override.mstone': 'ignore',
  'browser.tabs.firefox-view': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.disable_open_during_load': false,
  // Processes for pages that never come.
  'dom.ipc.processPrelaunch.enabled': false,
  'extensions.getAddons.cache.enabled': false,
  'extensions.systemAddon.update.enabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'network.prefetch-next': false,
  'services.settings.server': '',
  'toolkit.startup.max_resumed_crashes': -1,
  'toolkit.telemetry.reportingpolicy.firstRun': false,
};

/** What WebKitGTK has but does not switch on by itself; unknown names do no harm. */
const WEBKIT_FEATURES = [
  'FileSystem',
  'FileSystemWritableStream',
  'AccessHandle',
  'StorageAPI',
  'StorageAPIEstimate',
];

export function launchEngine(engine: EngineName, options: LaunchOptions): Promise<ProcessGroup> {
  return engine === 'firefox' ? launchFirefox(options) : launchWebKit(options);
}

async function launchFirefox({ folder, url, preferences }: LaunchOptions): Promise<ProcessGroup> {
  const all = Object.entries({ ...QUIET_FIREFOX, ...preferences });
  const lines = all.map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`);
  // It remembers what it was told the last time.
  rmSync(join(folder, 'prefs.js'), { force: true });
  writeFileSync(join(folder, 'user.js'), lines.join(''));
  const args = ['--headless', '--no-remote', '--profile', folder, url];
  return new ProcessGroup(programOf('firefox'), args, {
    ...process.env,
    HOME: folder,
    MOZ_CRASHREPORTER_DISABLE: '1',
  });
}

async function launchWebKit({ folder, url }: LaunchOptions): Promise<ProcessGroup> {
  const places: Record<string, string> = { HOME: folder };
  for (const name of ['CACHE_HOME', 'CONFIG_HOME', 'DATA_HOME', 'STATE_HOME', 'RUNTIME_DIR']) {
    places[`XDG_${name}`] = join(folder, name.toLowerCase());
    mkdirSync(places[`XDG_${name}`]!, { recursive: true, mode: 0o700 });
  }
  const args = [
    `--features=${WEBKIT_FEATURES.join(',')}`,
    '--javascript-can-open-windows-automatically=true',
    url,
  ];
  return new ProcessGroup(programOf('webkit'), args, {
    ...process.env,
    // Where there is no locale it says that its language is 'C', which its own Intl refuses.
    ...{ LANG: 'en_US.UTF-8', LC_ALL: 'en_US.UTF-8', LANGUAGE: 'en_US' },
    ...places,
    DISPLAY: await display(),
    // No session bus: it would be started, and outlive us.
    DBUS_SESSION_BUS_ADDRESS: 'unix:path=/dev/null',
    NO_AT_BRIDGE: '1',
    GSETTINGS_BACKEND: 'memory',
    GIO_USE_VFS: 'local',
    LIBGL_ALWAYS_SOFTWARE: '1',
    WEBKIT_DISABLE_COMPOSITING_MODE: '1',
    // Isolation alone does not bring it here.
    JSC_useSharedArrayBuffer: '1',
  });
}

function programOf(engine: EngineName): string {
  const path = findEngine(engine);
  if (path === undefined)
    throw new Error(`no ${engine}: npm run test:${engine} says how to get it`);
  return path;
}

let xvfb: ProcessGroup | undefined;

/** A display without a screen, for all browsers of this process; the first free one. */
async function display(): Promise<string> {
  const args = ['-displayfd', '1', '-screen', '0', '1280x1024x24', '-nolisten', 'tcp'];
  xvfb ??= new ProcessGroup('Xvfb', args, process.env);
  return `:${(await xvfb.says(/^(\d+)\n/m, 10_000))[1]!}`;
}

/** Ends what browsers shared. */
export async function stopDisplay(): Promise<void> {
  await xvfb?.kill();
  xvfb = undefined;
}
