/** A plugin as its author describes it. */

import { Dependency, Idempotency, Manifest, OnLoss, Operation } from "../api/forgemesh/api/plugin/v1/manifest.js";
import { durationOf } from "../fault.js";
import { Payload } from "../payload.js";
import type { Call } from "./call.js";
import { Misfit, textOf } from "./failure.js";
import { type Checked, checked, type Raw, type Schema } from "./schema.js";

export { OnLoss };

const DEFAULT_CONCURRENCY = 16;
const PLUGIN_ID = /^[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$/;
const OPERATION_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;

type Awaitable<T> = T | Promise<T>;

/** What a predecessor left, and the version of the plugin that wrote it. */
export interface State {
  value: unknown;
  version: string;
}

/** Something that a plugin needs: a plugin or an interface, whether it works without, and what its loss means. */
export type Need = ({ plugin: string } | { interface: string }) & {
  range?: string;
  optional?: boolean;
  onLoss?: OnLoss;
};

/** What is called as its life goes. */
export interface Hooks {
  /** Called before the first call. What it throws keeps the instance from serving. */
  start?: () => Awaitable<void>;
  /** Called after the last call. */
  stop?: () => Awaitable<void>;
  /** What a successor begins with: anything that JSON can hold, or a Payload, at most 3 MiB. */
  saveState?: () => Awaitable<unknown>;
  /** Called after the start with what a predecessor left. What it throws keeps the instance from serving. */
  restoreState?: (state: State) => Awaitable<void>;
}

export interface PluginOptions<Config = unknown> extends Hooks {
  /** A sentence for people. */
  description?: string;
  /** How many calls one instance runs at a time, 16 without it. More wait in its queue. */
  maxConcurrency?: number;
  /** The interfaces that it fulfils, each as "name@version". */
  provides?: readonly string[];
  /** What it needs: plugins as "id@range" or "id", or in full. */
  requires?: readonly (string | Need)[];
  /** Published for the selection of a provider: a higher one is preferred. */
  priority?: number;
  /** The share of traffic relative to other instances. */
  weight?: number;
  /** Facts for people and programs. */
  metadata?: Readonly<Record<string, string>>;
  /** What fits its configuration; what does not is refused before the plugin sees it. */
  config?: Schema<Config>;
  /**
   * Called with the configuration before the start, and again whenever it changes. What it throws refuses the change, and it
   * is called again with the configuration before.
   */
  configure?: (config: Config) => Awaitable<void>;
}

export interface OperationOptions<Input, Output> {
  /** The input's type; without one it is whatever the caller's JSON holds. */
  input?: Schema<Input> | Raw;
  /** The output's type, for those who read the manifest. */
  output?: Schema<Output> | Raw;
  /** For people. */
  description?: string;
  /**
   * True: a repeated call is harmless, and may also be hedged and used for trial calls. False: it is never repeated while
   * the fate of an earlier call is unknown.
   */
  idempotent?: boolean;
  /** Whether equal inputs give equal outputs. */
  cacheable?: boolean;
  /** Milliseconds that a call may take if its caller does not say; a minute without it. */
  timeout?: number;
}

/** A callable function: `run` reads the input, calls it and writes its output. */
export interface Callable {
  readonly described: Operation;
  run(input: Payload, call: Call): Promise<Payload>;
}

/** An output that cannot be sent. */
export class OutputMisfit extends Misfit {}

/** A plugin of whatever configuration, as its host knows it. */
export type Served = Pick<
  Plugin,
  "configure" | "id" | "isConfigurable" | "manifest" | "maxConcurrency" | "operations" | "version"
> & { readonly options: Hooks & { readonly weight?: number } };

/** A named, versioned collection of operations. Mistakes in it are told, all together, when it is served. */
export class Plugin<Config = unknown> {
  readonly operations = new Map<string, Callable>();
  readonly #mistakes: string[] = [];
  readonly #configuration: Checked;

  /** Its id is a dotted lower-case name, its version SemVer. */
  constructor(
    readonly id: string,
    readonly version: string,
    readonly options: PluginOptions<Config> = {},
  ) {
    this.#configuration = this.#checked("its configuration", options.config, "input");
    if (options.maxConcurrency !== undefined && !(options.maxConcurrency >= 1)) {
      this.#mistakes.push(`maxConcurrency = ${options.maxConcurrency} would run nothing`);
    }
  }

  /**
   * Makes a function callable under a name.
   *
   * What it throws as an OperationError is the operation's failure as it says. Anything else that it throws is
   * PLUGIN_EXCEPTION. The call's signal aborts when the call is taken back or its time is over.
   */
  operation<Input = unknown, Output = unknown>(
    name: string,
    options: OperationOptions<Input, Output>,
    handle: (input: Input, call: Call) => Awaitable<Output>,
  ): this {
    if (!OPERATION_NAME.test(name)) {
      this.#mistakes.push(
        `operation "${name}": a name has letters, digits and _, at most 64, and begins with no digit`,
      );
    }
    if (this.operations.has(name)) {
      this.#mistakes.push(`operation "${name}" is there twice`);
    }
    const input = this.#checked(`the input of operation "${name}"`, options.input, "input");
    const output = this.#checked(`the output of operation "${name}"`, options.output, "output");
    const described = Operation.fromPartial({
      name,
      description: options.description ?? "",
      idempotency: idempotencyOf(options.idempotent),
      cacheable: options.cacheable ?? false,
      inputSchema: input.text,
      outputSchema: output.text,
      ...(options.timeout === undefined ? {} : { timeout: durationOf(options.timeout) }),
    });
    const run = async (given: Payload, call: Call) => written(await handle(read(given, input) as Input, call));
    this.operations.set(name, { described, run });
    return this;
  }

  /** What the plugin publishes; throws with every mistake in it. */
  manifest(): Manifest {
    const mistakes = [...this.#mistakes];
    if (!PLUGIN_ID.test(this.id)) {
      mistakes.push(`the id "${this.id}" is no dotted lower-case name like "weather.stats"`);
    }
    if (!SEMVER.test(this.version)) {
      mistakes.push(`the version "${this.version}" is not SemVer like "1.2.0"`);
    }
    if (this.operations.size === 0) {
      mistakes.push("it has no operation; add one with plugin.operation");
    }
    const provides = (this.options.provides ?? []).map((said) => {
      const [name = "", version = ""] = said.split("@", 2);
      if (name === "" || version === "") {
        mistakes.push(`provides "${said}", which is not "name@version"`);
      }
      return { name, version };
    });
    if (mistakes.length > 0) {
      throw new Error(`plugin ${this.id}: ${mistakes.join("; ")}`);
    }
    return Manifest.fromPartial({
      pluginId: this.id,
      version: this.version,
      description: this.options.description ?? "",
      provides,
      operations: [...this.operations.values()].map((one) => one.described).sort(byName),
      dependencies: (this.options.requires ?? []).map(dependencyOf),
      priority: this.options.priority ?? 0,
      weight: this.options.weight ?? 0,
      maxConcurrency: this.maxConcurrency,
      metadata: { ...this.options.metadata },
      configSchema: this.#configuration.text,
    });
  }

  /** Whether another configuration can be taken on without a restart. */
  get isConfigurable(): boolean {
    return this.options.configure !== undefined;
  }

  get maxConcurrency(): number {
    return this.options.maxConcurrency ?? DEFAULT_CONCURRENCY;
  }

  /** Takes on the configuration that a JSON text holds, or throws why not. */
  async configure(text: string): Promise<void> {
    if (this.options.configure !== undefined) {
      const given = new Payload(Buffer.from(text || "{}"));
      await this.options.configure(read(given, this.#configuration) as Config);
    }
  }

  #checked(what: string, schema: Schema<unknown> | Raw | undefined, io: "input" | "output"): Checked {
    try {
      return checked(schema, io);
    } catch (error) {
      this.#mistakes.push(`${what} has no JSON Schema: ${textOf(error)}`);
      return checked(undefined, io);
    }
  }
}

function read(given: Payload, expected: Checked): unknown {
  if (expected.isRaw) {
    return given;
  }
  let value: unknown;
  try {
    value = given.data.length === 0 ? {} : given.decode();
  } catch (error) {
    throw new Misfit(`$: ${textOf(error)}`);
  }
  return expected.check(value);
}

function written(value: unknown): Payload {
  try {
    return Payload.of(value);
  } catch (error) {
    throw new OutputMisfit(textOf(error));
  }
}

function idempotencyOf(said: boolean | undefined): Idempotency {
  if (said === undefined) {
    return Idempotency.IDEMPOTENCY_UNSPECIFIED;
  }
  return said ? Idempotency.IDEMPOTENCY_IDEMPOTENT : Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT;
}

function dependencyOf(said: string | Need): Dependency {
  if (typeof said === "string") {
    const [id = "", range = ""] = said.split("@", 2);
    return Dependency.fromPartial({ target: { $case: "pluginId", value: id }, versionRange: range });
  }
  const target =
    "plugin" in said
      ? ({ $case: "pluginId", value: said.plugin } as const)
      : ({ $case: "interfaceName", value: said.interface } as const);
  return {
    target,
    versionRange: said.range ?? "",
    optional: said.optional ?? false,
    onLoss: said.onLoss ?? OnLoss.ON_LOSS_UNSPECIFIED,
  };
}

function byName(one: Operation, other: Operation): number {
  return one.name < other.name ? -1 : 1;
}
