// The work of one `openGraph` or `createImage`: nodes with their children first, the format guessed
// where none is named, names stored in images followed as far as the policy goes. It remembers what
// it opened, so that what fails leaves nothing open behind.

import type { ChildRole } from './block-child.ts';
import { BlockChild } from './block-child.ts';
import type { BlockDriver, DriverState, OpenContext, OpenFlags } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { BlockNode } from './block-node.ts';
import { filenameOf } from './filename.ts';
import type { Graph } from './graph.ts';
import { openingParent } from './opening-parent.ts';
import { parseNodeOptions, treeOf } from './node-options.ts';
import type { NodeOptions } from './node-options.ts';
import { DEFAULT_SETTINGS, openFlags } from './node-settings.ts';
import type { NodeSettings } from './node-settings.ts';
import { PERM_ALL, defaultPermissions, detachEdge, setPermissions } from './permissions.ts';
import type { OpenPolicy } from './policy.ts';
import type { Probed } from './probe.ts';
import { loadDriver } from './registry.ts';

/** Nodes below one another at most, in options or by backing files. */
export const MAX_CHAIN = 64;

export interface OpenGraphOptions {
  /** Aborts a slow open, which then throws BlockError('ECANCELED'). */
  readonly signal?: AbortSignal | undefined;
  /** Which names stored in images may be followed. Default: none. */
  readonly policy?: OpenPolicy | undefined;
  /** Default false: writable, except for what cannot be written. */
  readonly readOnly?: boolean | undefined;
  /** Of nodes that do not say so themselves. Default: neither. */
  readonly cache?: Pick<NodeSettings, 'cacheDirect' | 'cacheNoFlush'> | undefined;
  /** Told what is worth knowing but no failure. */
  readonly onNotice?: ((nodeName: string, message: string) => void) | undefined;
}

/** Where in the graph a node is being opened. */
export interface Place {
  readonly role: ChildRole;
  readonly readOnly: boolean;
  /** The parent's: its children do as it does about caches and sharing, unless they say otherwise. */
  readonly settings: NodeSettings;
  readonly depth: number;
  /** File names of the images above, for finding circles. */
  readonly above: readonly string[];
}

/** A node whose children are being opened. */
interface OpeningParent {
  readonly name: string;
  readonly driver: BlockDriver;
}

/** One call's worth of opening. */
export class Opening {
  readonly #graph: Graph;
  readonly #extra: OpenGraphOptions;
  readonly #opened: BlockNode[] = [];
  readonly #pending = new Set<BlockChild>();

  constructor(graph: Graph, extra: OpenGraphOptions) {
    this.#graph = graph;
    this.#extra = extra;
  }

  /** Opens, or finds, what `reference` describes. Throws BlockError. */
  async open(reference: unknown, place: Place): Promise<BlockNode> {
    this.#checkAborted();
    if (place.depth > MAX_CHAIN) {
      const message = `more than ${MAX_CHAIN} nodes below one another (${place.above.join(' → ')})`;
      throw new BlockError('EINVAL', message);
    }
    if (typeof reference === 'string' && place.role !== 'root') {
      const there = this.#graph.find(reference);
      if (there !== undefined) return there;
    }
    const asProtocol = place.role === 'file';
    const options = parseNodeOptions(treeOf(reference, asProtocol), asProtocol);
    const known = options.readOnly ?? place.readOnly;
    const readOnly = place.role === 'backing' || known;
    const { cacheDirect, cacheNoFlush } = place.settings;
    const forceShare = place.settings.forceShare && readOnly;
    const own = await this.#settings(options, readOnly);
    const settings = { ...DEFAULT_SETTINGS, cacheDirect, cacheNoFlush, forceShare, ...own };
    const at = { ...place, settings, readOnly };
    if (options.driver !== undefined) {
      return this.#openWith({ driver: options.driver, headGuard: undefined }, options, at);
    }
    const { file } = options.rest;
    if (file === undefined) {
      throw new BlockError('EINVAL', `option 'driver' is missing, and 'file' to guess it from`);
    }
    const fileNode = await this.open(file, { ...at, role: 'file', depth: at.depth + 1 });
    const { guessedRaw, probeImage } = await import('./probe.ts');
    const probed = await probeImage(fileNode);
    if (probed.headGuard !== undefined && !at.readOnly && !fileNode.readOnly) {
      this.#extra.onNotice?.(fileNode.name, guessedRaw(fileNode.filename));
    }
    const rest = { ...options.rest, file: fileNode.name };
    return this.#openWith(probed, { ...options, rest }, at);
  }

  async #settings(options: NodeOptions, readOnly: boolean): Promise<Partial<NodeSettings>> {
    if (options.settings === undefined) return {};
    const { parseSettings } = await import('./parse-settings.ts');
    return parseSettings(options.driver ?? 'image', options.settings, readOnly);
  }

  /** Closes what was opened so far; failures on the way no longer matter. */
  async abandon(): Promise<void> {
    for (const edge of this.#pending) detachEdge(edge);
    for (const node of this.#opened.reverse()) await this.#graph.release(node).catch(() => {});
  }

  async #openWith(probed: Probed, options: NodeOptions, place: Place): Promise<BlockNode> {
    const driver = await loadDriver(probed.driver);
    const parsed = driver.parseOptions(options.rest);
    const name = this.#graph.reserveName(options.nodeName);
    try {
      return await this.#openNode(name, driver, parsed, probed, options, place);
    } catch (error) {
      if (error instanceof BlockError) throw error;
      throw new BlockError('EIO', `node '${name}': driver '${driver.name}': ${String(error)}`, {
        node: name,
        cause: error,
      });
    } finally {
      this.#graph.releaseName(name);
    }
  }

  async #openNode(
    name: string,
    driver: BlockDriver,
    parsed: object,
    probed: Probed,
    options: NodeOptions,
    place: Place,
  ): Promise<BlockNode> {
    const edges: BlockChild[] = [];
    const flags = openFlags(place.readOnly, place.settings);
    const parent = { name, driver };
    const insistsOnWriting = options.readOnly === false;
    const context: OpenContext = {
      nodeName: name,
      aioContext: this.#graph.context,
      flags,
      signal: this.#extra.signal,
      headGuard: probed.headGuard,
      notice: (message) => this.#extra.onNotice?.(name, message),
      openChild: async (role, reference, wanted) => {
        const edge = await this.#openChild(parent, role, reference, wanted, flags, place);
        edges.push(edge);
        const wants = role !== 'backing' && !(wanted?.readOnly ?? flags.readOnly);
        if (wants && edge.node.readOnly) {
          if (insistsOnWriting) throw cannotWrite(name, edge);
          flags.readOnly = true;
        }
        return edge;
      },
      openNamedInImage: async (role, stored, format) => {
        const { followName } = await import('./policy.ts');
        const named = { node: name, role, name: stored, format };
        const followed = await followName(this.#extra.policy, named, place.above, edges);
        const { reference, above } = followed;
        const at = { ...place, above };
        const edge = await this.#openChild(parent, role, reference, undefined, flags, at);
        edges.push(edge);
        return edge;
      },
    };
    const state = await this.#openState(driver, context, parsed, flags, insistsOnWriting);
    try {
      this.#checkAborted();
      const file = edges.find((edge) => edge.role === 'file' || edge.role === 'filtered');
      const node = new BlockNode({
        name,
        driver: driver.name,
        kind: driver.kind,
        context: this.#graph.context,
        state,
        children: edges,
        readOnly: flags.readOnly,
        childPermissions: driver.childPermissions,
        filename: file?.node.filename ?? filenameOf(driver.name, options.rest),
        options: options.rest,
        guessed: probed.headGuard !== undefined,
        settings: place.settings,
      });
      for (const edge of edges) this.#pending.delete(edge);
      this.#opened.push(node);
      this.#graph.insert(node);
      return node;
    } catch (error) {
      await state.close();
      throw error;
    }
  }

  /** Opens the driver; read-only where it says that it cannot write and nobody insists. */
  async #openState(
    driver: BlockDriver,
    context: OpenContext,
    parsed: object,
    flags: { readOnly: boolean },
    insistsOnWriting: boolean,
  ): Promise<DriverState> {
    try {
      return await driver.open(context, parsed);
    } catch (error) {
      const retry = driver.kind === 'protocol' && !flags.readOnly && !insistsOnWriting;
      if (!retry || !(error instanceof BlockError) || error.code !== 'EROFS') throw error;
      flags.readOnly = true;
      return driver.open(context, parsed);
    }
  }

  async #openChild(
    parent: OpeningParent,
    role: ChildRole,
    reference: unknown,
    wanted: Partial<OpenFlags> | undefined,
    flags: OpenFlags,
    place: Place,
  ): Promise<BlockChild> {
    if (reference === undefined || reference === null) {
      const option = role === 'filtered' ? 'file' : role;
      const message = `node '${parent.name}': option '${option}' is missing`;
      throw new BlockError('EINVAL', message, { node: parent.name });
    }
    const readOnly = role === 'backing' || (wanted?.readOnly ?? flags.readOnly);
    const node = await this.open(reference, { ...place, role, readOnly, depth: place.depth + 1 });
    return this.#connect(parent, node, role, !readOnly && !node.readOnly);
  }

  /** Makes the edge and holds the child by it until the parent exists. */
  #connect(parent: OpeningParent, node: BlockNode, role: ChildRole, writable: boolean): BlockChild {
    this.#graph.refuseMoving(node);
    const edge = new BlockChild(role, node, writable);
    node.quiescence.attach(edge, openingParent(`node '${parent.name}'`));
    this.#pending.add(edge);
    const unused = { perm: 0, shared: PERM_ALL };
    const own = parent.driver.childPermissions?.(role, unused);
    setPermissions(edge, own ?? defaultPermissions(role, unused, writable));
    return edge;
  }

  #checkAborted(): void {
    const { signal } = this.#extra;
    if (signal?.aborted !== true) return;
    throw new BlockError('ECANCELED', `opening was aborted: ${String(signal.reason)}`, {
      cause: signal.reason,
    });
  }
}

function cannotWrite(name: string, edge: BlockChild): BlockError {
  const message =
    `node '${name}' has 'read-only': false, but its ${edge.role} '${edge.node.filename}' ` +
    'is read-only';
  return new BlockError('EROFS', message, { node: name });
}
