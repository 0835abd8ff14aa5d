// The workbench page: puts state, views and workbench together. The page is drawn before anything
// is fetched, and everything large is loaded when it is needed.

import { OwnImages } from './boot/own-images.ts';
import { Selection } from './boot/selection.ts';
import type { Choice } from './boot/selection.ts';
import { element, setText } from './elements.ts';
import type { WayOut } from './explain-error.ts';
import { Downloads } from './files/downloads.ts';
import { SavedStates } from './files/saved-states.ts';
import { chooseTransport } from './machine/transport-choice.ts';
import type { TransportKind } from './machine/transport-choice.ts';
import { PageState } from './page-state.ts';
import { pageStorage } from './page-storage.ts';
import { installTestHooks } from './test-hooks.ts';
import { AllocationView } from './views/allocation-view.ts';
import { Charts } from './views/charts.ts';
import { ConsoleView } from './views/console-view.ts';
import { Controls } from './views/controls.ts';
import { DiskSampler } from './views/disk-sampler.ts';
import { EventLog } from './views/event-log.ts';
import { GraphView } from './views/graph-view.ts';
import { ImageDialog } from './views/image-dialog.ts';
import { RateHistory } from './views/rates.ts';
import { SetupForm } from './views/setup-form.ts';
import { StatesDialog } from './views/states-dialog.ts';
import { StepsView } from './views/steps-view.ts';
import { StorageLine } from './views/storage-line.ts';
import { SerialTerminal, nothingHasFocus } from './views/terminal.ts';
import { showTransport } from './views/transport-badge.ts';
import { Workbench } from './workbench.ts';
import type { LogLevel } from './workbench.ts';

const base = new URL('.', location.href).href;

const state = new PageState();
const selection = new Selection(base);
const ownImages = new OwnImages(pageStorage);
const eventLog = new EventLog(element('log', HTMLElement), element('log-news', HTMLElement));
const log = (level: LogLevel, words: string): void => eventLog.add(level, words);
const graph = new GraphView(element('graph', HTMLElement));
const history = new RateHistory();
const charts = new Charts(element('charts', HTMLElement), history);
const sampler = new DiskSampler();
const allocation = new AllocationView();
const storage = new StorageLine(log);
const terminal = new SerialTerminal(element('terminal', HTMLElement), (text) => {
  workbench.session?.machine.serial.send(text);
});
const consoleView = new ConsoleView(terminal);
const steps = new StepsView(state, (way) => takeWayOut(way));

const workbench = new Workbench({
  state,
  selection,
  firmware: `${base}bios/`,
  screen: consoleView.screen,
  log,
  onSerial: (bytes) => {
    steps.guestSpoke(true);
    terminal.write(bytes);
  },
  onSession: (session) => {
    sampler.watch(session?.disk);
    allocation.watch(session?.disk, session?.plan.overlay === true);
    void storage.update();
    history.restart();
    consoleView.connect(session?.machine.emulator);
    if (session === undefined) return graph.showNone();
    steps.guestSpoke(session.plan.talk === undefined);
    terminal.clear();
    // Whoever opened the page and typed would wonder where the keys went.
    if (nothingHasFocus()) consoleView.focus();
    rememberImage(session.plan.title);
    showPath(session.machine.attachment);
  },
  onProblem: (problem) => steps.showProblem(problem),
});

const downloads = new Downloads({ state, log, machine: workbench });
const savedStates = new SavedStates({ state, selection, workbench, log });
const controls = new Controls({
  state,
  selection,
  workbench,
  log,
  download: (kind) => void downloads.save(kind),
  openImage: () => imageDialog.open(),
  saveState: () => void savedStates.save(),
  openStates: () => void statesDialog.open(),
  focusConsole: () => consoleView.focus(),
  leaveImage: () => {
    ownImages.remove(selection.parameters.image!);
    void boot({ image: undefined, guest: undefined });
  },
});
const statesDialog = new StatesDialog({
  ...{ log, states: savedStates },
  leave: () => controls.leaveForState(),
});
const imageDialog = new ImageDialog({
  selection,
  leave: () => controls.leave(),
  remember: (image, guest) => {
    ownImages.add({ image, guest, title: image.split(/[/:]/).at(-1)! });
    setupForm.show();
  },
  boot: (choice) => void boot(choice),
});
const setupForm = new SetupForm({
  state,
  selection,
  ownImages,
  boot: (choice) => void boot(choice),
});

/** Ends what runs, if the user agrees, and boots something else. */
async function boot(choice: Choice): Promise<void> {
  if (!(await controls.leave())) return;
  selection.change(choice);
  await workbench.start();
}

function rememberImage(title: string): void {
  const { image, guest } = selection.parameters;
  if (image === undefined) return;
  ownImages.add({ image, guest: guest === 'linux' ? 'linux' : 'auto', title });
  setupForm.show();
}

/** `actual`: what the machine says, once there is one. */
function showPath(actual?: Parameters<typeof showTransport>[2]): void {
  const chosen = chooseTransport(selection.parameters.transport, selection.sharable);
  const boots = (transport: TransportKind): void => void boot({ transport });
  showTransport(chosen, selection.sharable ? boots : undefined, actual);
}

function showSelection(): void {
  consoleView.show(selection.onScreen ? 'screen' : 'serial');
  showPath();
  for (const complaint of selection.parameters.complaints) log('warning', complaint);
}

function takeWayOut(way: WayOut): void {
  if (way === 'open-image') imageDialog.open();
  else if (way === 'leave-image') void boot({ image: undefined, guest: undefined });
  else if (way === 'embedded-guest') void boot({ guest: 'embedded', image: undefined });
  else if (way === 'use-memory') void boot({ store: 'memory' });
  else if (way === 'use-idb') void boot({ store: 'idb' });
  else if (way === 'restore-disk') void savedStates.restoreWithDisk();
  else if (way === 'reset') void controls.reset();
  else void controls.start();
}

state.onChange(() => {
  document.body.dataset['state'] = state.phase;
  setText(element('status-words', HTMLElement), state.busy ?? state.words);
});
selection.onChange(showSelection);
sampler.onSample(({ at, stats }) => {
  const root = workbench.session?.disk.rootNode;
  const counts = stats.counts.find((node) => node.nodeName === root);
  if (root === undefined || counts === undefined) return;
  graph.update(stats, root);
  allocation.noticed(counts);
  history.add(at, counts);
  charts.draw();
});

addEventListener('pagehide', () => workbench.abandon());
addEventListener('pageshow', (event) => {
  // Back from the browser's cache of pages, without a disk.
  if (event.persisted) location.reload();
});
addEventListener('popstate', () => {
  void workbench.cutPower().then(() => {
    selection.reload();
    return workbench.start();
  });
});

installTestHooks(workbench, terminal);
void storage.update();
showSelection();
if (selection.parameters.autostart) {
  terminal.preload();
  void workbench.start();
} else {
  state.set('off', 'Ready to start');
}
selection.hasLinux(new AbortController().signal).then(
  (has) => {
    setupForm.setHasLinux(has);
    imageDialog.setHasLinux(has);
  },
  () => {}, // Nobody can tell; whoever boots it is told why.
);
