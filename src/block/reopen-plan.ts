// What a reopen comes to, found and checked before anything is touched: which nodes are opened anew, how,
// and over which children; and whether everybody else can live with that.

import { isOptionTree, nestOptions } from '../base/options.ts';
import type { OptionTree } from '../base/options.ts';
import { AbsentState } from './absent-state.ts';
import { BlockBackend } from './block-backend.ts';
import type { BlockChild, ChildRole } from './block-child.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';
import { parentsFirst } from './move.ts';
import { parseNodeOptions } from './node-options.ts';
import type { NodeOptions } from './node-options.ts';
import type { NodeSettings } from './node-settings.ts';
import { parseSettings } from './parse-settings.ts';
import { upkeepOf } from './node-upkeep.ts';

/** A node and what becomes of it. */
export interface Step {
  readonly node: BlockNode;
  readonly driver: BlockDriver;
  readonly options: OptionTree;
  readonly readOnly: boolean;
  readonly settings: NodeSettings;
  /** Other children than before; null for none. */
  readonly replaced: ReadonlyMap<ChildRole, BlockNode | null>;
  /** The driver opens it anew; otherwise only the node takes note. */
  readonly swap: boolean;
}

type Drivers = ReadonlyMap<string, BlockDriver>;

/** The nodes that `requests` name. Throws BlockError. */
export function namedNodes(graph: Graph, requests: readonly OptionTree[]): BlockNode[] {
  const nodes = requests.map((request) => {
    const name = isOptionTree(request) ? request['node-name'] : undefined;
    if (typeof name === 'string') return graph.get(name);
    throw new BlockError('EINVAL', "what is reopened must be said with 'node-name'");
  });
  const twice = nodes.find((node, i) => nodes.indexOf(node) < i);
  if (twice === undefined) return nodes;
  throw refusal('EINVAL', twice, 'is named twice');
}

/** Parents before children. Throws BlockError that names node and option. */
export function planReopen(
  graph: Graph,
  requests: readonly OptionTree[],
  drivers: Drivers,
): readonly Step[] {
  const steps = new Map<BlockNode, Step>();
  const named = namedNodes(graph, requests);
  const given = requests.map((request) => nestOptions(request));
  named.forEach((node, i) => steps.set(node, parseStep(graph, node, given[i]!, drivers)));
  named.forEach((node, i) => addHeirs(graph, steps, steps.get(node)!, given[i]!, drivers));
  for (const node of steps.keys()) {
    checkIdle(graph, node);
    if (node.state instanceof AbsentState && node.state.inactive) {
      throw refusal('EBUSY', node, 'is inactive: activate it first');
    }
  }
  for (const step of steps.values()) checkStep(graph, steps, step);
  for (const node of steps.keys()) checkWriters(steps, node);
  return parentsFirst(new Set(steps.keys())).map((node) => steps.get(node)!);
}

function parseStep(graph: Graph, node: BlockNode, request: OptionTree, drivers: Drivers): Step {
  if (request['driver'] !== undefined && request['driver'] !== node.driver) {
    throw refusal('EINVAL', node, `has the driver '${node.driver}', which a reopen cannot change`);
  }
  const protocol = node.kind === 'protocol';
  const parsed = parseNodeOptions({ driver: node.driver, ...request }, protocol);
  const driver = drivers.get(node.driver);
  if (driver === undefined) throw refusal('EBUSY', node, 'was added just now');
  const replaced = new Map<ChildRole, BlockNode | null>();
  const changed: string[] = [];
  for (const [key, value] of Object.entries(parsed.rest)) {
    const edge = node.children.find((child) => keyOf(child.role) === key);
    if (!protocol && (edge !== undefined || key === 'backing')) {
      const child = childOf(graph, node, key, value);
      if (child !== (edge?.node ?? null)) replaced.set(edge?.role ?? 'backing', child);
      if (child !== (edge?.node ?? null)) changed.push(key);
    } else if (!isSame(value, node.options[key])) {
      if (driver.reopenable?.includes(key) !== true) {
        const can = driver.reopenable?.map((name) => `'${name}'`).join(', ');
        const why = `the driver '${node.driver}' can change ${can ?? 'none of its options'}`;
        throw refusal('EINVAL', node, `cannot be reopened with another '${key}': ${why}`);
      }
      changed.push(key);
    }
  }
  const readOnly = parsed.readOnly ?? node.readOnly;
  const settings = { ...node.settings, ...ownSettings(node, parsed, readOnly) };
  const options = { ...node.options, ...pick(parsed.rest, changed) };
  driver.parseOptions(options);
  return stepOf(node, driver, { options, readOnly, settings, replaced }, changed.length > 0);
}

function ownSettings(
  node: BlockNode,
  { settings = {} }: NodeOptions,
  readOnly: boolean,
): Partial<NodeSettings> {
  // What has to go together with these may have been said before.
  const { discard, detectZeroes, forceShare } = node.settings;
  const before = { discard, 'detect-zeroes': detectZeroes, 'force-share': forceShare };
  return parseSettings(node.driver, { ...before, ...settings }, readOnly);
}

function stepOf(
  node: BlockNode,
  driver: BlockDriver,
  how: Pick<Step, 'options' | 'readOnly' | 'settings' | 'replaced'>,
  changed: boolean,
): Step {
  const { readOnly, settings } = how;
  const swap =
    changed ||
    readOnly !== node.readOnly ||
    settings.cacheDirect !== node.settings.cacheDirect ||
    settings.forceShare !== node.settings.forceShare;
  const { options } = how;
  return { node, driver, ...how, options: swap ? withoutMaking(options) : options, swap };
}

/** Children that nobody named and nobody else uses do as their parent. */
function addHeirs(
  graph: Graph,
  steps: Map<BlockNode, Step>,
  step: Step,
  request: OptionTree,
  drivers: Drivers,
): void {
  const { settings, replaced } = step;
  const { cacheDirect, cacheNoFlush } = settings;
  const cache = request['cache'] === undefined ? {} : { cacheDirect, cacheNoFlush };
  for (const { role, node } of step.node.children) {
    const named = steps.has(node) || graph.isOwned(node) || node.quiescence.parents.size > 1;
    if (named || replaced.has(role) || !drivers.has(node.driver)) continue;
    const follows = request['read-only'] !== undefined && role !== 'backing';
    const readOnly = follows ? step.readOnly : node.readOnly;
    const shares = request['force-share'] === undefined ? node.settings : settings;
    const forceShare = shares.forceShare && readOnly;
    const how = {
      options: node.options,
      readOnly,
      settings: { ...node.settings, ...cache, forceShare },
      replaced: new Map<ChildRole, BlockNode | null>(),
    };
    const heir = stepOf(node, drivers.get(node.driver)!, how, false);
    steps.set(node, heir);
    addHeirs(graph, steps, heir, request, drivers);
  }
}

/** Nobody else may be at work on the node as a whole. Throws BlockError. */
export function checkIdle(graph: Graph, node: BlockNode): void {
  if (node.shared) throw refusal('ENOTSUP', node, 'is open on several IOThreads');
  if (graph.isMoving(node)) throw refusal('EBUSY', node, 'is being moved to another thread');
  if (upkeepOf(node).locked) throw refusal('EBUSY', node, 'is being checked or reset');
  for (const parent of node.quiescence.parents.values()) {
    if (parent instanceof BlockNode || parent instanceof BlockBackend) continue;
    throw refusal('EBUSY', node, `is in use by ${parent.label}, which is being opened`);
  }
}

function checkStep(graph: Graph, steps: ReadonlyMap<BlockNode, Step>, step: Step): void {
  const { node, replaced, readOnly } = step;
  for (const [role, child] of replaced) {
    if (child === null) continue;
    if (graph.isMoving(child)) throw refusal('EBUSY', child, 'is being moved to another thread');
    if (reaches(steps, child, node)) {
      const why = `cannot have '${child.name}' as '${keyOf(role)}', which is above it`;
      throw refusal('EINVAL', node, why);
    }
  }
  if (readOnly) return;
  for (const [role, child] of childrenOf(steps, node)) {
    if (role === 'backing' || !isReadOnly(steps, child)) continue;
    const why = `'read-only' cannot be false: its ${keyOf(role)} '${child.name}' is read-only`;
    throw refusal('EROFS', node, why);
  }
}

/** Whoever writes to `node` and is not reopened would have to stop. */
function checkWriters(steps: ReadonlyMap<BlockNode, Step>, node: BlockNode): void {
  for (const [edge, parent] of node.quiescence.parents) {
    const kept = parent instanceof BlockNode && edge.writable && !steps.has(parent);
    if (kept && isReadOnly(steps, node)) {
      throw refusal(
        'EBUSY',
        node,
        `'read-only' cannot be true: ${parent.label} writes to it; reopen that as well`,
      );
    }
  }
}

/** The children that `node` will have. */
export function childrenOf(
  steps: ReadonlyMap<BlockNode, Step>,
  node: BlockNode,
): [role: ChildRole, child: BlockNode][] {
  const replaced = steps.get(node)?.replaced ?? new Map<ChildRole, BlockNode | null>();
  const roles = new Set([...node.children.map(({ role }) => role), ...replaced.keys()]);
  const edges: [ChildRole, BlockNode][] = [];
  for (const role of roles) {
    const other = replaced.get(role);
    if (other !== undefined)
      edges.push(...(other === null ? [] : [[role, other] as [ChildRole, BlockNode]])); // prettier-ignore
    else for (const edge of node.children) if (edge.role === role) edges.push([role, edge.node]);
  }
  return edges;
}

function reaches(steps: ReadonlyMap<BlockNode, Step>, from: BlockNode, to: BlockNode): boolean {
  const seen = new Set([from]);
  for (const node of seen) for (const [, child] of childrenOf(steps, node)) seen.add(child);
  return seen.has(to);
}

function isReadOnly(steps: ReadonlyMap<BlockNode, Step>, node: BlockNode): boolean {
  return steps.get(node)?.readOnly ?? node.readOnly;
}

function childOf(graph: Graph, node: BlockNode, key: string, value: unknown): BlockNode | null {
  if (value === null && key === 'backing') return null;
  if (typeof value === 'string') return graph.get(value);
  const what = key === 'backing' ? 'the name of a node, or null' : 'the name of a node';
  throw refusal('EINVAL', node, `cannot be reopened: option '${key}' must be ${what}`);
}

/** The option that names a child. */
function keyOf(role: BlockChild['role']): string {
  return role === 'filtered' ? 'file' : role;
}

function pick(tree: OptionTree, keys: readonly string[]): OptionTree {
  return Object.fromEntries(Object.entries(tree).filter(([key]) => keys.includes(key)));
}

/** Without what makes an image: it was made when it was opened first, and one that is gone is lost. */
export function withoutMaking(options: OptionTree): OptionTree {
  if (options['create'] === undefined) return options;
  const entries = Object.entries(options).filter(([key]) => key !== 'create' && key !== 'size');
  return Object.fromEntries(entries);
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function refusal(code: 'EINVAL' | 'EBUSY' | 'EROFS' | 'ENOTSUP', node: BlockNode, why: string) {
  return new BlockError(code, `${node.label} ${why}`, { node: node.name });
}
