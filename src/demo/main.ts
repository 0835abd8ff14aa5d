// The workbench page: puts state, views and workbench together. The page is drawn before anything
// is fetched, and everything large is loaded when it is needed.

import { Charts } from './views/charts.ts';
import { Controls } from './views/controls.ts';
import type { BootSource } from './boot/boot-plan.ts';
import { DefaultSource } from './boot/default-source.ts';
import { DiskSampler } from './views/disk-sampler.ts';
import { element, setText } from './elements.ts';
import { EmbeddedSource } from './embedded-guest/embedded-source.ts';
import { EventLog } from './views/event-log.ts';
import type { WayOut } from './explain-error.ts';
import { GraphView } from './views/graph-view.ts';
import { GuestSource } from './boot/guest-source.ts';
import { ImageDialog } from './views/image-dialog.ts';
import { ownImageSource } from './boot/own-image-source.ts';
import { parsePageParameters, withParameter } from './page-parameters.ts';
import { PageState } from './page-state.ts';
import { RateHistory } from './views/rates.ts';
import { StepsView } from './views/steps-view.ts';
import { SerialTerminal } from './views/terminal.ts';
import { installTestHooks } from './test-hooks.ts';
import { showTransport } from './views/transport-badge.ts';
import { chooseTransport } from './machine/transport-choice.ts';
import { VgaScreen } from './views/vga-screen.ts';
import { Workbench } from './workbench.ts';

const parameters = parsePageParameters(location.search);
const base = new URL('.', location.href).href;
const ownImage = parameters.image !== undefined;
const sharable = typeof SharedArrayBuffer !== 'undefined';
const transport = chooseTransport(parameters.transport, ownImage, sharable);

const state = new PageState();
const log = new EventLog(element('log', HTMLElement));
const graph = new GraphView(element('graph', HTMLElement));
const history = new RateHistory();
const charts = new Charts(element('charts', HTMLElement), history);
const sampler = new DiskSampler();
const screen = new VgaScreen(element('screen', HTMLElement));
const terminal = new SerialTerminal(element('terminal', HTMLElement), (text) => {
  workbench.session?.machine.serial.send(text);
});
const steps = new StepsView(state, (way) => takeWayOut(way));

const workbench = new Workbench({
  state,
  source: chooseSource(),
  ownImage,
  transport: transport.kind,
  firmware: `${base}bios/`,
  screen: screen.element,
  log: (level, words) => log.add(level, words),
  onSerial: (bytes) => {
    steps.guestSpoke(true);
    terminal.write(bytes);
  },
  onSession: (session) => {
    sampler.watch(session?.disk);
    history.restart();
    if (session === undefined) {
      graph.showNone();
      return;
    }
    steps.guestSpoke(ownImage);
    terminal.clear();
    screen.show(ownImage ? session.machine.emulator : undefined);
    showTransport(transport, session.machine.attachment);
  },
  onProblem: (problem) => steps.showProblem(problem),
});

const imageDialog = new ImageDialog(ownImage, () => workbench.cutPower());
const controls = new Controls({
  state,
  workbench,
  openImage: () => imageDialog.open(),
  focusConsole: () => (ownImage ? screen.element.focus() : terminal.focus()),
  resettable: !ownImage || !parameters.image.startsWith('opfs:'),
});

function chooseSource(): BootSource {
  if (parameters.image !== undefined) return ownImageSource(parameters.image);
  const linux = new GuestSource(parameters, `${base}guest/`);
  const embedded = new EmbeddedSource(parameters.disk);
  if (parameters.guest === 'auto') return new DefaultSource(linux, embedded);
  return parameters.guest === 'linux' ? linux : embedded;
}

function takeWayOut(way: WayOut): void {
  if (way === 'open-image') imageDialog.open();
  else if (way === 'leave-image') void imageDialog.openGuest();
  else if (way === 'embedded-guest') {
    location.search = withParameter(location.search, 'guest', 'embedded');
  } else if (way === 'reset') void controls.reset();
  else void controls.start();
}

state.onChange(() => {
  document.body.dataset['state'] = state.phase;
  setText(element('status-words', HTMLElement), state.busy ?? state.words);
});
sampler.onSample(({ at, stats }) => {
  const root = workbench.session?.disk.rootNode;
  const counts = stats.counts.find((node) => node.nodeName === root);
  if (root === undefined || counts === undefined) return;
  graph.update(stats, root);
  history.add(at, counts);
  charts.draw();
});

addEventListener('pagehide', () => workbench.abandon());
addEventListener('pageshow', (event) => {
  // Back from the browser's cache of pages, without a disk.
  if (event.persisted) location.reload();
});

installTestHooks(workbench, terminal);
showTransport(transport);
for (const complaint of parameters.complaints) log.add('warning', complaint);
if (parameters.autostart) {
  terminal.preload();
  void workbench.start();
} else {
  state.set('off', 'Ready to start');
}
