// Starts a browser on a page by its command line alone, with a new profile on disk. A debugger or driver
// would halve Chromium's rate of requests and cost Firefox two thirds, so nothing watches: whoever
// starts it hears from the page itself, and from the process when it ends too early.

import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBrowser } from '../setup/browser.mjs';
import { aptInstall, canAptInstall } from '../setup/debian.mjs';
import { isProgram, say, SetupError, which } from '../setup/shell.mjs';

const CHROMIUM_FLAGS = [
  '--headless',
  '--disable-background-networking',
  '--disable-background-timer-throttling',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
  '--no-default-browser-check',
];

const FIREFOX_PREFERENCES = {
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'toolkit.telemetry.enabled': false,
};

/** @typedef {{ kind: 'chromium' | 'firefox', path: string }} Browser */

/**
 * @param {string} wanted `chromium`, `firefox`, or the path of either's program
 * @returns {Promise<Browser>}
 */
export async function findBenchBrowser(wanted) {
  if (wanted === 'chromium') return { kind: 'chromium', path: await ensureBrowser() };
  if (wanted === 'firefox') return { kind: 'firefox', path: await ensureFirefox() };
  if (!isProgram(wanted)) {
    throw new SetupError(`--browser is '${wanted}': chromium, firefox or the path of one is meant`);
  }
  return { kind: /firefox/i.test(wanted) ? 'firefox' : 'chromium', path: wanted };
}

async function ensureFirefox() {
  const find = () => which('firefox-esr') ?? which('firefox');
  let path = find();
  if (!path && canAptInstall() && (await aptInstall(['firefox-esr']))) path = find();
  if (!path) throw new SetupError('no Firefox found (Debian: apt-get install firefox-esr)');
  say(`browser: ${path}`);
  return path;
}

/**
 * @param {Browser} browser
 * @param {string} profile folder for what the browser stores; made here
 * @param {string} url
 * @returns {{ ended: Promise<string>, stop(): Promise<void> }} `ended` resolves, to the browser's
 *   last words, when the process is over
 */
export function startBrowser(browser, profile, url) {
  mkdirSync(profile, { recursive: true });
  const child = spawn(browser.path, commandLine(browser, profile, url), {
    stdio: ['ignore', 'ignore', 'pipe'],
    // A group of its own, so that its helpers end with it.
    detached: process.platform !== 'win32',
  });
  let words = '';
  child.stderr.on('data', (data) => (words = (words + data).slice(-2000)));
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(`exit ${signal ?? code}: ${words}`));
  });
  return {
    ended,
    async stop() {
      try {
        if (child.pid) process.kill(process.platform === 'win32' ? child.pid : -child.pid);
      } catch {
        // It is over already.
      }
      await ended;
    },
  };
}

/**
 * @param {Browser} browser
 * @param {string} profile
 * @param {string} url
 */
function commandLine({ kind }, profile, url) {
  if (kind === 'firefox') {
    const lines = Object.entries(FIREFOX_PREFERENCES).map(
      ([name, value]) => `user_pref("${name}", ${value});`,
    );
    writeFileSync(join(profile, 'user.js'), lines.join('\n'));
    return ['--headless', '--no-remote', '--profile', profile, url];
  }
  const root = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return [...CHROMIUM_FLAGS, ...root, `--user-data-dir=${profile}`, url];
}
