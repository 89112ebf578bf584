/** Runs a plugin in a test: with real ports and a real caller, and without a mesh. */

import { type Client, credentials, makeClientConstructor } from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { Invocation } from "../api/forgemesh/api/plugin/v1/invocation.js";
import { type InvokeResponse, PluginServiceClient } from "../api/forgemesh/api/plugin/v1/plugin_service.js";
import { Fault } from "../fault.js";
import { Payload } from "../payload.js";
import type { Served } from "../plugin/plugin.js";
import { serve } from "../plugin/serve.js";
import type { Settings } from "../plugin/settings.js";

/** What an invocation says beside its operation and its input. */
export type About = Parameters<typeof Invocation.fromPartial>[0];

/** A plugin that is served for a test; whoever has started one stops it. */
export class TestHost {
  private constructor(
    /** The plugin as the mesh calls it. */
    readonly service: PluginServiceClient,
    readonly address: string,
    readonly healthAddress: string,
    private readonly stopping: AbortController,
    private readonly ended: Promise<void>,
  ) {}

  /** Serves the plugin; throws what keeps it from serving. */
  static async start(plugin: Served, settings: Partial<Settings> = {}): Promise<TestHost> {
    const stopping = new AbortController();
    return await new Promise((resolve, reject) => {
      const quiet = { instanceId: "test", log: () => {}, ...settings };
      const ended = serve(plugin, quiet, {
        signal: stopping.signal,
        onServing: ({ address, healthAddress }) => {
          const service = new PluginServiceClient(address, credentials.createInsecure());
          resolve(new TestHost(service, address, healthAddress, stopping, ended));
        },
      });
      ended.catch(reject);
    });
  }

  /** Makes one call with the input as JSON and returns the output. A failure of the operation is a Fault. */
  async call<Output = unknown>(operation: string, input?: unknown, about: About = {}): Promise<Output> {
    const payload = await this.callRaw(operation, input === undefined ? undefined : Payload.of(input), about);
    return (payload.isJson ? payload.decode() : payload) as Output;
  }

  /** As `call`, with payloads as they are. */
  async callRaw(operation: string, input: Payload | undefined, about: About = {}): Promise<Payload> {
    const invocation = Invocation.fromPartial({ attempt: 1, stepPath: "step", idempotencyKey: "test", ...about });
    invocation.operation = operation;
    invocation.input = input?.toMessage();
    const { result } = await new Promise<InvokeResponse>((resolve, reject) => {
      this.service.invoke({ invocation }, (error, answer) => (error ? reject(Fault.from(error)) : resolve(answer)));
    });
    if (result?.outcome?.$case === "failure") {
      throw Fault.ofFailure(result.outcome.value);
    }
    return Payload.from(result?.outcome?.value);
  }

  /** What it says of itself under a name: SERVING, NOT_SERVING; on the port for health alone, or the main one. */
  async health(name = "", address = this.healthAddress): Promise<string> {
    const Health = makeClientConstructor(healthService as never, "Health");
    const client = new Health(address, credentials.createInsecure());
    try {
      return await new Promise((resolve, reject) => {
        (client.check as (asked: object, done: (error: Error | null, answer: { status: string }) => void) => void)(
          { service: name },
          (error, answer) => (error ? reject(error) : resolve(answer.status)),
        );
      });
    } finally {
      (client as Client).close();
    }
  }

  /** Ends the plugin as its supervisor does; throws what kept it from serving. */
  async stop(): Promise<void> {
    this.stopping.abort();
    try {
      await this.ended;
    } finally {
      this.service.close();
    }
  }
}
