// Images of one's own in the workbench: copied into the browser, read where they are, at a URL, new and
// empty; deleted again. They show themselves on the VGA screen, in graphical modes too.

import type { Page } from '@playwright/test';
import { starts } from './embedded-page.ts';
import type { Hooked } from './embedded-page.ts';
import { expect, test } from './fixtures.ts';

const BOOT_MS = 60_000;

async function shows(page: Page, words: string): Promise<void> {
  await expect(page.getByTestId('screen')).toContainText(words, { timeout: BOOT_MS });
}

/** Boots what the dialog says; a machine that runs takes no commands, so its power is cut. */
async function boot(page: Page, running = true): Promise<void> {
  await page.getByTestId('image-boot').click();
  if (running) await page.getByTestId('ask-yes').click();
  await starts(page);
  // The screen is the old machine's until then.
  await page.locator('body[data-state=running]').waitFor({ timeout: BOOT_MS });
}

/** A BIOS flushes nothing, and a page that goes may have no time to: so it is done here. */
async function reload(page: Page): Promise<void> {
  await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.disk!.flush());
  await page.reload();
}

test("without a guest the page says how to get one, and boots an image of one's own", async ({
  page,
  images,
  previewURL,
}) => {
  await page.route('**/guest/**', (route) => route.fulfill({ status: 404 }));
  await page.goto(`${previewURL}/?guest=linux`);
  await page.locator('body[data-state=error]').waitFor();
  await expect(page.getByTestId('problem')).toContainText('npm run guest');
  await expect(page.getByTestId('way-embedded-guest')).toBeVisible();

  // A file is copied into this browser and written in place.
  const file = { name: 'own.img', mimeType: '', buffer: Buffer.from(bootCounter()) };
  await page.getByTestId('way-open-image').click();
  await page.getByTestId('image-file').setInputFiles(file);
  await boot(page, false);
  await shows(page, 'own image, boot 1');
  expect(new URL(page.url()).searchParams.get('image')).toBe('opfs:diskplane/images/own.img');
  await reload(page);
  await shows(page, 'own image, boot 2');

  // Over a URL, writes go to an overlay, and a reset takes them back.
  images.setFile('/remote.img', { bytes: bootCounter() });
  await page.getByTestId('open-image').click();
  await page.getByTestId('image-kind-url').check();
  await page.getByTestId('image-url').fill(`${images.url}/remote.img`);
  await boot(page);
  await shows(page, 'own image, boot 1');
  await reload(page);
  await shows(page, 'own image, boot 2');
  await page.getByTestId('reset').click();
  await page.getByTestId('ask-yes').click();
  await shows(page, 'own image, boot 1');

  // Read where it is, when dropped: the overlay stays, the file is given again after a reload.
  await drop(page, file.name, bootCounter());
  await page.getByTestId('image-how-place').check();
  await boot(page);
  await shows(page, 'own image, boot 1');
  await reload(page);
  await expect(page.getByTestId('problem')).toContainText('has to be given again');
  await page.getByTestId('way-open-image').click();
  await page.getByTestId('image-kind-blank').check();
  await page.getByTestId('image-cancel').click();
  await drop(page, file.name, bootCounter());
  await page.getByTestId('image-how-place').check();
  await boot(page, false);
  await shows(page, 'own image, boot 2');

  // A new disk has nothing to start from; the copy of before can be chosen again, and deleted.
  await page.getByTestId('open-image').click();
  await page.getByTestId('image-kind-blank').check();
  await page.getByTestId('blank-name').fill('empty');
  await boot(page);
  await shows(page, 'No bootable device');
  await page.getByTestId('map').scrollIntoViewIfNeeded();
  await expect(page.getByTestId('map-words')).toContainText('0 B of 1.00 GiB');
  await page.getByTestId('setup-what').selectOption('auto opfs:diskplane/images/own.img');
  await page.getByTestId('setup-apply').click();
  await page.getByTestId('ask-yes').click();
  await shows(page, 'own image, boot 3');
  await page.getByTestId('reset').click();
  await expect(page.getByTestId('ask')).toContainText('Delete own.img?');
  await page.getByTestId('ask-yes').click();
  await expect(page.getByTestId('log')).toContainText('own.img is deleted');
  await page.goto(`${previewURL}/?image=opfs:diskplane/images/own.img`);
  await expect(page.getByTestId('problem')).toContainText('not there');
});

for (const transport of ['zero-copy', 'bounce']) {
  test(`a guest draws graphics (${transport})`, async ({ page, images, previewURL }) => {
    images.setFile('/red.img', { bytes: redScreen() });
    const image = encodeURIComponent(`${images.url}/red.img`);
    await page.goto(`${previewURL}/?store=memory&transport=${transport}&image=${image}`);
    await expect(page.getByTestId('transport')).toHaveAttribute('data-transport', transport);
    const middle = (): Promise<number[]> =>
      page.evaluate(() => {
        const canvas = document.querySelector<HTMLCanvasElement>('#screen canvas')!;
        if (canvas.width !== 320) return [];
        return [...canvas.getContext('2d')!.getImageData(160, 100, 1, 1).data];
      });
    // Colour 12 of VGA: 63, 21 and 21 of 63, as v86 spreads six bits over eight.
    await expect.poll(middle, { timeout: BOOT_MS }).toEqual([255, 87, 87, 255]);
  });
}

/** Drops a file on the page, as from a file manager. */
async function drop(page: Page, name: string, bytes: Uint8Array): Promise<void> {
  await page.evaluate(
    ({ name, bytes }) => {
      const dataTransfer = new DataTransfer();
      const file = new File([Uint8Array.from(bytes)], name, { lastModified: 1_800_000_000_000 });
      dataTransfer.items.add(file);
      for (const type of ['dragover', 'drop']) {
        document.body.dispatchEvent(
          new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }),
        );
      }
    },
    { name, bytes: [...bytes] },
  );
}

/** A disk that boots by BIOS into mode 13h, 320 by 200 in 256 colours, and paints all of it red. */
function redScreen(): Uint8Array {
  const code = [
    ...[0xb8, 0x13, 0x00, 0xcd, 0x10], // mov ax,0013h; int 10h
    ...[0xb8, 0x00, 0xa0, 0x8e, 0xc0], // mov ax,0a000h; mov es,ax
    ...[0x31, 0xff, 0xb9, 0x00, 0xfa], // xor di,di; mov cx,64000
    ...[0xb0, 0x0c, 0xfc, 0xf3, 0xaa], // mov al,12; cld; rep stosb
    ...[0xf4, 0xeb, 0xfd], // end: hlt; jmp end
  ];
  return bootDisk(code);
}

function bootDisk(code: readonly number[]): Uint8Array {
  const disk = new Uint8Array(1024 * 1024);
  disk.set(code);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

/**
 * A disk that boots by BIOS: its first sector adds one to a digit in itself, writes itself back
 * through INT 13h, and shows a line with the digit.
 */
function bootCounter(): Uint8Array {
  const text = 'own image, boot 0\0';
  const code = [
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xfc], // xor ax,ax; mov ds,ax; mov es,ax; cld
    ...[0xfe, 0x06, 0x3b, 0x7c], // inc byte [digit]
    ...[0xbb, 0x00, 0x7c, 0xb8, 0x01, 0x03], // mov bx,7c00h; mov ax,0301h (write one sector)
    ...[0xb9, 0x01, 0x00, 0x30, 0xf6, 0xcd, 0x13], // mov cx,1; xor dh,dh; int 13h
    ...[0xbe, 0x2b, 0x7c], // mov si,text
    ...[0xac, 0x84, 0xc0, 0x74, 0x08], // next: lodsb; test al,al; jz end
    ...[0xb4, 0x0e, 0x31, 0xdb, 0xcd, 0x10, 0xeb, 0xf3], // mov ah,0eh; xor bx,bx; int 10h; jmp next
    ...[0xf4, 0xeb, 0xfd], // end: hlt; jmp end
  ];
  return bootDisk([...code, ...new TextEncoder().encode(text)]);
}
