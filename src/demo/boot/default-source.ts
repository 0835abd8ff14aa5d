// What boots when the page's URL names nothing: the Linux guest, or where none was built, the embedded
// one, so that there is always something to see.

import type { BootKind, BootPlan, BootSource, ReportStep } from './boot-plan.ts';

/** A source that can tell whether it has anything to boot. */
interface UncertainSource extends BootSource {
  exists(signal: AbortSignal): Promise<boolean>;
}

export class DefaultSource implements BootSource {
  readonly #linux: UncertainSource;
  readonly #embedded: BootSource;
  #chosen: BootSource;

  constructor(linux: UncertainSource, embedded: BootSource) {
    this.#linux = linux;
    this.#embedded = embedded;
    this.#chosen = linux;
  }

  get title(): string {
    return this.#chosen.title;
  }

  async prepare(report: ReportStep, signal: AbortSignal, kind: BootKind): Promise<BootPlan> {
    report('files', 'active', 'Looking for the guest');
    await this.#choose(signal);
    const plan = await this.#chosen.prepare(report, signal, kind);
    if (this.#chosen === this.#linux) return plan;
    const remark = 'No Linux guest was built here (npm run guest does), so the embedded one boots';
    return { ...plan, remark };
  }

  async reset(): Promise<void> {
    await this.#choose(new AbortController().signal);
    await this.#chosen.reset();
  }

  async #choose(signal: AbortSignal): Promise<void> {
    this.#chosen = (await this.#linux.exists(signal)) ? this.#linux : this.#embedded;
  }
}
