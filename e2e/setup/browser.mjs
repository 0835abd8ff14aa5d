// Finds a Chromium for the end-to-end tests. First hit wins: a variable of the user's, Playwright's
// own download, what is installed on this machine, Debian's package where we may install it.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { aptInstall, canAptInstall } from './debian.mjs';
import { isProgram, root, say, SetupError, which } from './shell.mjs';

const variables = ['DISKPLANE_BROWSER', 'CHROMIUM_PATH', 'CHROME_PATH'];

const names = [
  'chromium',
  'chromium-browser',
  'google-chrome-stable',
  'google-chrome',
  'chrome',
  'microsoft-edge-stable',
  'microsoft-edge',
  'msedge',
];

const places = {
  darwin: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    '/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge',
  ],
  win32: ['PROGRAMFILES', 'PROGRAMFILES(X86)', 'LOCALAPPDATA'].flatMap((variable) =>
    ['Google/Chrome/Application/chrome.exe', 'Microsoft/Edge/Application/msedge.exe'].map((path) =>
      join(process.env[variable] ?? 'C:/', path),
    ),
  ),
  linux: ['/opt/google/chrome/chrome', '/opt/microsoft/msedge/msedge', '/snap/bin/chromium'],
};

/**
 * Looks for a browser and installs nothing.
 * @returns {Promise<string | undefined>} the path of its program
 * @throws {SetupError} where a variable names a browser that is not there
 */
export async function findBrowser() {
  for (const variable of variables) {
    const path = process.env[variable];
    if (!path) continue;
    if (isProgram(path)) return path;
    throw new SetupError(`${variable} is '${path}', which is no program`);
  }
  const own = await playwrightsOwn();
  if (own) return own;
  for (const name of names) {
    const path = which(name);
    if (path) return path;
  }
  return (places[process.platform] ?? []).find(isProgram);
}

/**
 * Looks for a browser, and installs Debian's where there is none and we may.
 * @returns {Promise<string>} the path of its program
 */
export async function ensureBrowser() {
  let path = await findBrowser();
  if (!path && canAptInstall() && (await aptInstall(['chromium']))) path = await findBrowser();
  if (!path) {
    throw new SetupError(
      `no browser found. Any of these helps:
    npx playwright install --with-deps chromium
    apt-get install chromium
    DISKPLANE_BROWSER=/path/to/chromium npm test`,
    );
  }
  say(`browser: ${path}`);
  return path;
}

/** @returns {Promise<string | undefined>} the browser that `npx playwright install` brought */
async function playwrightsOwn() {
  if (!existsSync(join(root, 'node_modules/playwright'))) return undefined;
  const { chromium } = await import('playwright');
  const path = chromium.executablePath();
  return path && isProgram(path) ? path : undefined;
}
