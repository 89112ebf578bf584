import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { OperationError, Plugin } from "../src/plugin/index.js";
import { Caller, hostOf, type Parts, reasonOf } from "./hosts.js";

const echo = () => new Plugin("test.echo", "1.0.0", { maxConcurrency: 2 }).operation("echo", {}, (given) => given);

/** Its operation waits for its signal, and says so. */
function waiting() {
  const said: string[] = [];
  const plugin = new Plugin("test.waiting", "1.0.0").operation("wait", {}, async (_, { signal, stepPath }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    said.push(stepPath);
    throw signal.reason;
  });
  return { plugin, said };
}

test("every call of a session is answered once and gives its credit back", async (t) => {
  const host = await hostOf(t, echo(), { queue: 6 });
  const caller = await Caller.greeted(host);
  assert.deepEqual(
    [caller.credits, caller.frames[0]?.hello?.protocol, caller.frames[0]?.hello?.instanceId],
    [8, 1, "test"],
  );

  let sent = 0n;
  while (sent < 400n) {
    await caller.until(() => caller.credits > 0);
    const batch = Array.from({ length: caller.credits }, () => ({ callId: ++sent, operation: "echo", attempt: 1 }));
    caller.credits = 0;
    caller.invoke(...batch);
  }
  await caller.until(() => BigInt(caller.results.size) === sent && caller.credits === 8);

  assert([...caller.results.values()].every((result) => result.outcome?.$case === "output"));
  caller.stream.end();
  await caller.until(() => caller.isEnded);
});

test("a call without a credit is refused", async (t) => {
  const { plugin } = waiting();
  const host = await hostOf(t, plugin, { queue: 0 });
  const caller = await Caller.greeted(host);

  caller.invoke(
    ...Array.from({ length: caller.credits + 1 }, (_, index) => ({ callId: BigInt(index + 1), operation: "wait" })),
  );
  await caller.until(() => caller.results.size > 0);

  const refused = caller.results.get(BigInt(caller.credits + 1));
  assert.deepEqual([caller.results.size, reasonOf(refused)], [1, "INSTANCE_FULL"]);
  caller.stream.cancel();
});

test("a call that is taken back hears of it and is answered", async (t) => {
  const { plugin, said } = waiting();
  const caller = await Caller.greeted(await hostOf(t, plugin));

  caller.invoke({ callId: 1n, operation: "wait", stepPath: "one" }, { callId: 2n, operation: "wait", stepPath: "two" });
  await caller.until(() => caller.accepted.size === 2);
  caller.send({ cancels: [{ callId: 2n }, { callId: 99n }] });
  await caller.until(() => caller.results.size > 0);

  assert.equal(reasonOf(caller.results.get(2n)), "CANCELLED");
  assert.deepEqual(said, ["two"]);
  caller.stream.cancel();
});

test("an operation that does not hear is answered without, and keeps its place", async (t) => {
  let goOn = () => {};
  const plugin = new Plugin("test.deaf", "1.0.0", { maxConcurrency: 1 }).operation("deaf", {}, async () => {
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
  });
  const caller = await Caller.greeted(await hostOf(t, plugin, { queue: 1 }));

  caller.invoke({ callId: 1n, operation: "deaf", remainingMillis: 10n }, { callId: 2n, operation: "deaf" });
  await caller.until(() => caller.results.size === 1);
  const begun = caller.accepted.has(2n);
  goOn();
  await caller.until(() => caller.accepted.has(2n));
  goOn();
  await caller.until(() => caller.results.size === 2);

  assert.equal(reasonOf(caller.results.get(1n)), "START_TO_CLOSE_TIMEOUT");
  assert.equal(begun, false);
  caller.stream.cancel();
});

test("the loss of a session takes its calls back", async (t) => {
  const { plugin, said } = waiting();
  const host = await hostOf(t, plugin);
  const [lost, other] = [await Caller.greeted(host), await Caller.greeted(host)];
  lost.invoke({ callId: 1n, operation: "wait", stepPath: "lost" });
  other.invoke({ callId: 1n, operation: "wait", stepPath: "kept" });
  await lost.until(() => lost.accepted.size === 1);
  await other.until(() => other.accepted.size === 1);
  const before = other.credits;

  lost.stream.cancel();
  await other.until(() => other.credits > before); // the share of the lost one

  assert.deepEqual(said, ["lost"]);
  other.stream.cancel();
});

test("a host that drains answers what it has and says so", async (t) => {
  let goOn = () => {};
  const plugin = new Plugin("test.drain", "1.0.0").operation("slow", {}, async () => {
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
    return "done";
  });
  const host = await hostOf(t, plugin);
  const caller = await Caller.greeted(host);
  caller.invoke({ callId: 1n, operation: "slow" });
  await caller.until(() => caller.accepted.size === 1);

  const stopped = host.stop();
  await caller.until(() => caller.drained);
  caller.invoke({ callId: 2n, operation: "slow" });
  await caller.until(() => caller.results.has(2n));
  const health = await host.health("readiness");
  goOn();
  await caller.until(() => caller.isEnded);
  await stopped;

  assert.equal(health, "NOT_SERVING");
  assert.equal(reasonOf(caller.results.get(2n)), "INSTANCE_DRAINING");
  assert.equal(caller.results.get(1n)?.outcome?.$case, "output");
});

test("what a failed call said for its next attempt goes with its failure", async (t) => {
  const plugin = new Plugin("test.progress", "1.0.0").operation("say", {}, (given, call) => {
    call.progress(0.5, "half", { at: 2n ** 60n });
    call.progress(0.7, "more");
    assert.throws(() => call.progress(0.8, "too much", "x".repeat(65 * 1024)), { reason: "PAYLOAD_TOO_LARGE" });
    if (given !== "well") {
      throw new OperationError("NOT_YET", "once more");
    }
  });
  const caller = await Caller.greeted(await hostOf(t, plugin));

  caller.invoke(
    { callId: 1n, operation: "say" },
    { callId: 2n, operation: "say", input: { data: Buffer.from('"well"') } },
  );
  await caller.until(() => caller.results.size === 2);

  const said = caller.progress.get(1n);
  assert.deepEqual(
    [said?.fraction, said?.note, Buffer.from(said?.details?.data ?? []).toString()],
    [0.7, "more", `{"at":${2n ** 60n}}`],
  );
  assert.equal(caller.progress.has(2n), false);
  caller.stream.cancel();
});

test("large results leave in several messages, and each on its own if need be", async (t) => {
  const plugin = new Plugin("test.large", "1.0.0").operation("fill", {}, (_, { attempt }) => "x".repeat(attempt));
  const caller = await Caller.greeted(await hostOf(t, plugin));
  const sizes = [600_000, 600_000, 3 << 20, 10, 500_000];

  caller.invoke(...sizes.map((attempt, index) => ({ callId: BigInt(index + 1), operation: "fill", attempt })));
  await caller.until(() => caller.results.size === sizes.length);

  const frames = caller.frames.map(({ results }) =>
    results.map(({ outcome }) => (outcome?.$case === "output" ? outcome.value.data.length : 0)),
  );
  const large = frames.filter((lengths) => lengths.reduce((sum, one) => sum + one, 0) > 1 << 20);
  assert.deepEqual(large, [[(3 << 20) + 2]]);
  caller.stream.cancel();
});

test("a session that breaks its framing ends with the reason", async (t) => {
  const host = await hostOf(t, echo());
  const hello = { protocolMin: 1, protocolMax: 1 };
  const broken: [string, Parts[]][] = [
    ["INVALID_REQUEST", [{}]],
    ["INVALID_REQUEST", [{ hello }, { hello }]],
    ["INVALID_REQUEST", [{ hello }, { invocations: [{ callId: 0n }] }]],
    ["INVALID_REQUEST", [{ hello }, { invocations: [{ callId: 2n }, { callId: 2n }] }]],
    ["PROTOCOL_UNSUPPORTED", [{ hello: { protocolMin: 2, protocolMax: 9 } }]],
    ["WRONG_INCARNATION", [{ hello: { ...hello, incarnation: 7n } }]],
  ];

  for (const [reason, requests] of broken) {
    const caller = new Caller(host.service.session());
    for (const request of requests) {
      caller.send(request);
    }
    while (caller.fault === undefined) {
      await once(caller.stream, "heard");
    }
    assert.equal(
      (caller.fault as { reason: string }).reason,
      reason,
      JSON.stringify(requests, (_, value) => String(value)),
    );
  }
  const unharmed = await Caller.greeted(host);
  unharmed.invoke({ callId: 1n, operation: "echo" });
  await unharmed.until(() => unharmed.results.size === 1);
  unharmed.stream.cancel();
});
