import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { z } from "zod";
import type { AttachRequest, AttachResponse } from "../src/api/forgemesh/api/supervisor/v1/attach.js";
import { HostPhase } from "../src/api/forgemesh/api/supervisor/v1/host.js";
import { SupervisorServiceService } from "../src/api/forgemesh/api/supervisor/v1/supervisor_service.js";
import { Code, Fault } from "../src/fault.js";
import { Plugin, type Served, serve } from "../src/plugin/index.js";
import { Mailbox, served } from "./servers.js";

type Stream = ServerDuplexStream<AttachRequest, AttachResponse>;
type Kind<Case> = Extract<NonNullable<AttachRequest["kind"]>, { $case: Case }>;

/** A supervisor that says what a test tells it to, and the host that it has started. */
class Supervised {
  readonly streams = new Mailbox<Stream>();
  readonly ended: Promise<void>;
  readonly #said = new Mailbox<NonNullable<AttachRequest["kind"]>>();
  readonly #stop = new AbortController();
  #stream: Stream | undefined;

  constructor(plugin: Served, supervisor: Promise<string>, settings: object) {
    this.ended = supervisor.then((address) =>
      serve(
        plugin,
        { supervisor: address, token: "secret", instanceId: "one", log: () => {}, ...settings },
        { signal: this.#stop.signal },
      ),
    );
    this.ended.catch(() => {});
  }

  static start(t: TestContext, plugin: Served, settings: object = {}): Supervised {
    let supervised: Supervised | undefined;
    const address = served(t, SupervisorServiceService, { attach: (stream: Stream) => supervised?.accept(stream) });
    supervised = new Supervised(plugin, address, settings);
    t.after(() => supervised?.stop().catch(() => {}));
    return supervised;
  }

  accept(stream: Stream): void {
    this.#stream = stream;
    stream.on("data", ({ kind }: AttachRequest) => kind && this.#said.put(kind));
    stream.on("error", () => {});
    stream.on("end", () => stream.end());
    this.streams.put(stream);
  }

  say(kind: AttachResponse["kind"]): void {
    this.#stream?.write({ kind });
  }

  /** The next thing of this kind that the host says. */
  async hears<Case extends NonNullable<AttachRequest["kind"]>["$case"]>($case: Case): Promise<Kind<Case>["value"]> {
    const { value } = await this.#said.until((kind) => kind.$case === $case);
    return value as Kind<Case>["value"];
  }

  /** The host is introduced and initialised with this configuration and state. */
  async initialize(config: object, state?: object): Promise<void> {
    this.say({ $case: "welcome", value: { protocol: 1 } });
    const left = state && { payload: payloadOf(state), pluginVersion: "0.9.0", failure: "", request: 0n };
    this.say({ $case: "initialize", value: { config: JSON.stringify(config), configRevision: 4n, state: left } });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.ended;
  }

  hangUp(fault: Fault): void {
    this.#stream?.emit("error", fault.toStatus());
  }
}

function payloadOf(value: object) {
  return { mediaType: "application/json", data: Buffer.from(JSON.stringify(value)), metadata: {} };
}

const within = { seconds: 5n, nanos: 0 };

function counting() {
  const said: unknown[] = [];
  const plugin = new Plugin("test.counting", "1.0.0", {
    config: z.object({ step: z.int() }),
    configure: ({ step }) => {
      said.push(step);
      if (step < 0) {
        throw new Error("it counts upwards");
      }
    },
    start: () => {
      said.push("start");
    },
    restoreState: ({ value, version }) => {
      said.push(value, version);
    },
    saveState: () => ({ count: 7 }),
    stop: () => {
      said.push("stop");
    },
  }).operation("count", {}, () => 1);
  return { plugin, said };
}

test("a host is introduced, configured, started, given its predecessor's state, and serves", async (t) => {
  const { plugin, said } = counting();
  const supervised = Supervised.start(t, plugin);

  const hello = await supervised.hears("hello");
  await supervised.initialize({ step: 2 }, { count: 6 });
  const ready = await supervised.hears("ready");
  const load = await supervised.hears("load");
  await supervised.stop();

  assert.deepEqual([hello.token, hello.instanceId, hello.pid], ["secret", "one", BigInt(process.pid)]);
  assert.deepEqual([hello.manifest?.pluginId, hello.protocolMin, hello.protocolMax], ["test.counting", 1, 1]);
  assert.match(ready.address, /^127\.0\.0\.1:[1-9]\d*$/);
  assert.notEqual(ready.address, ready.healthAddress);
  assert.equal(ready.configRevision, 4n);
  assert.equal(load.namedMetrics.in_flight, 0);
  assert.deepEqual(said, [2, "start", { count: 6 }, "0.9.0", "stop"]);
});

test("another configuration is taken on, or refused and the one before counts again", async (t) => {
  const { plugin, said } = counting();
  const supervised = Supervised.start(t, plugin);
  await supervised.hears("hello");
  await supervised.initialize({ step: 1 });
  await supervised.hears("ready");

  const outcomes = [];
  for (const [request, step] of [
    [1n, 3],
    [2n, -1],
    [3n, "three"],
  ] as const) {
    const config = JSON.stringify({ step });
    supervised.say({ $case: "configure", value: { config, revision: 4n + request, within, request } });
    const { refusal, unsettled, needsRestart } = await supervised.hears("configured");
    outcomes.push([refusal.replace(/:.*/, ""), unsettled, needsRestart]);
  }

  assert.deepEqual(outcomes, [
    ["", false, false],
    ["it counts upwards", false, false],
    ["$.step", false, false],
  ]);
  assert.deepEqual(said, [1, "start", 3, -1, 3, 3]);
});

test("what a successor begins with is handed over", async (t) => {
  const supervised = Supervised.start(t, counting().plugin);
  await supervised.hears("hello");
  await supervised.initialize({ step: 1 });
  await supervised.hears("ready");

  supervised.say({ $case: "saveState", value: { within, request: 9n } });
  const state = await supervised.hears("state");

  assert.deepEqual([state.request, state.pluginVersion, state.failure], [9n, "1.0.0", ""]);
  assert.equal(Buffer.from(state.payload?.data ?? []).toString(), '{"count":7}');
});

test("what keeps a host from serving is told with its phase", async (t) => {
  const operation = { echo: (given: unknown) => given };
  const failing = (options: object) =>
    new Plugin("test.failing", "1.0.0", options).operation("echo", {}, operation.echo);
  const broken = () => {
    throw new Error("as it was asked to");
  };
  for (const [plugin, phase, said] of [
    [failing({ configure: broken }), HostPhase.HOST_PHASE_CONFIG, "its configuration is refused: as it was asked to"],
    [failing({ start: broken }), HostPhase.HOST_PHASE_INIT, "it did not start: as it was asked to"],
    [new Plugin("test.empty", "1.0.0"), HostPhase.HOST_PHASE_HANDSHAKE, "it has no operation"],
  ] as const) {
    const supervised = Supervised.start(t, plugin);
    await supervised.hears("hello");
    await supervised.initialize({});

    const { phase: told, reason } = await supervised.hears("failed");

    assert.equal(told, phase);
    assert(reason.includes(said), reason);
    await assert.rejects(supervised.ended, new RegExp(said));
  }
});

test("a broken stream is opened again, and the host says again that it serves", async (t) => {
  const supervised = Supervised.start(t, counting().plugin);
  await supervised.hears("hello");
  await supervised.initialize({ step: 1 });
  const { address } = await supervised.hears("ready");

  supervised.hangUp(new Fault("", "the supervisor stops", { code: Code.UNAVAILABLE }));
  const hello = await supervised.hears("hello");

  assert.equal(hello.ready?.address, address);
});

test("a host that its supervisor does not want ends with the reason", async (t) => {
  const supervised = Supervised.start(t, counting().plugin);
  await supervised.hears("hello");

  supervised.hangUp(new Fault("HANDSHAKE_REFUSED", "its secret is another one", { code: Code.PERMISSION_DENIED }));

  await assert.rejects(supervised.ended, /is gone: its secret is another one/);
});
