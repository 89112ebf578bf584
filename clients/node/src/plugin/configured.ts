/** A started plugin, as far as its supervisor changes it or asks it. */

import {
  type Configure,
  ConfigureResult,
  SavedState,
  type SaveState,
} from "../api/forgemesh/api/supervisor/v1/attach.js";
import { HostPhase } from "../api/forgemesh/api/supervisor/v1/host.js";
import { millisecondsOf } from "../fault.js";
import { Payload } from "../payload.js";
import { Alarm } from "./alarm.js";
import { cut, textOf } from "./failure.js";
import type { Served } from "./plugin.js";

const MOST_STATE = 3 * (1 << 20);
const CHANGE_TIMEOUT = 30_000;

/** What keeps a host from serving, and where that came up. */
export class HostFailed extends Error {
  override readonly name = "HostFailed";

  constructor(
    readonly phase: HostPhase,
    message: string,
  ) {
    super(message);
  }
}

export class Configured {
  private constructor(
    readonly plugin: Served,
    private config: string,
    public revision: bigint,
  ) {}

  /** Configures the plugin, starts it and gives it what its predecessor left. */
  static async begin(plugin: Served, config: string, revision: bigint, state?: SavedState): Promise<Configured> {
    const { start, restoreState } = plugin.options;
    const left = state?.payload;
    await step(HostPhase.HOST_PHASE_CONFIG, "its configuration is refused", () => plugin.configure(config));
    await step(HostPhase.HOST_PHASE_INIT, "it did not start", () => start?.());
    if (left !== undefined) {
      await step(HostPhase.HOST_PHASE_INIT, "it did not take its predecessor's state", () => {
        const payload = Payload.from(left);
        const value = payload.isJson ? payload.decode() : payload;
        return restoreState?.({ value, version: state?.pluginVersion ?? "" });
      });
    }
    return new Configured(plugin, config, revision);
  }

  /** Takes another configuration on, or says why not; then the one before counts again. */
  async configure({ config, revision, request, within }: Configure): Promise<ConfigureResult> {
    const result = ConfigureResult.create({ revision, request });
    if (!this.plugin.isConfigurable) {
      result.needsRestart = true;
      return result;
    }
    const length = lengthOf(within);
    try {
      await bounded(length, () => this.plugin.configure(config));
      this.config = config;
      this.revision = revision;
    } catch (error) {
      result.refusal = cut(textOf(error));
      await bounded(length, () => this.plugin.configure(this.config)).catch(() => {
        result.unsettled = true;
      });
    }
    return result;
  }

  /** What a successor begins with. */
  async save({ request, within }: SaveState): Promise<SavedState> {
    const { saveState } = this.plugin.options;
    const saved = SavedState.create({ pluginVersion: this.plugin.version, request });
    if (saveState === undefined) {
      return saved;
    }
    try {
      const payload = Payload.of(await bounded(lengthOf(within), async () => await saveState()));
      if (payload.size > MOST_STATE) {
        throw new Error(`its state has ${payload.size} bytes, a successor takes ${MOST_STATE}`);
      }
      saved.payload = payload.toMessage();
    } catch (error) {
      saved.failure = cut(textOf(error));
    }
    return saved;
  }
}

async function step(phase: HostPhase, what: string, act: () => unknown): Promise<void> {
  try {
    await act();
  } catch (error) {
    throw new HostFailed(phase, `${what}: ${textOf(error)}`);
  }
}

function lengthOf(within: SaveState["within"]): number {
  const said = within === undefined ? 0 : millisecondsOf(within);
  return said > 0 ? said : CHANGE_TIMEOUT;
}

/** What the author's function gives, as long as it may take; one that goes on is left alone. */
async function bounded<T>(length: number, act: () => Promise<T>): Promise<T> {
  let alarm: Alarm | undefined;
  const over = new Promise<never>((_, reject) => {
    alarm = new Alarm(length, () => reject(new Error(`it takes longer than ${length / 1000} s`)));
  });
  try {
    return await Promise.race([act(), over]);
  } finally {
    alarm?.stop();
  }
}
