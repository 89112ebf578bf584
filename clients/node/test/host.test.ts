import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { Invocation } from "../src/api/forgemesh/api/plugin/v1/invocation.js";
import { Code, Fault } from "../src/fault.js";
import { Payload } from "../src/payload.js";
import { OperationError, Plugin, raw } from "../src/plugin/index.js";
import { hostOf } from "./hosts.js";

const number = z.object({ value: z.int64(), large: z.uint64().optional(), share: z.number().optional() });

function json(text: string): Payload {
  return new Payload(Buffer.from(text));
}

test("integers pass exactly into types and back", async (t) => {
  const host = await hostOf(
    t,
    new Plugin("test.numbers", "1.0.0").operation("echo", { input: number }, (given) => given),
  );

  for (const text of [
    `{"value":${2n ** 63n - 1n},"large":${2n ** 64n - 1n}}`,
    `{"value":${-(2n ** 63n)}}`,
    '{"value":0,"share":0.5}',
  ]) {
    assert.equal(Buffer.from((await host.callRaw("echo", json(text))).data).toString(), text);
  }
});

test("an operation gets bigints where its type says so, and numbers elsewhere", async (t) => {
  const seen: unknown[] = [];
  const host = await hostOf(
    t,
    new Plugin("test.numbers", "1.0.0").operation("see", { input: number }, ({ value, share }) => {
      seen.push(typeof value, typeof share);
    }),
  );

  await host.callRaw("see", json('{"value":7,"share":123456789012345678901}'));

  assert.deepEqual(seen, ["bigint", "number"]);
});

test("an input that does not fit is refused with its place", async (t) => {
  const schema = { type: "object", properties: { value: { type: "integer" } }, required: ["value"] };
  const host = await hostOf(
    t,
    new Plugin("test.numbers", "1.0.0")
      .operation("zod", { input: number }, (given) => given)
      .operation("schema", { input: schema }, (given) => given),
  );

  for (const operation of ["zod", "schema"]) {
    for (const [text, place] of [
      ['{"value":"seven"}', "$.value"],
      ["{}", "$"],
      ['{"value":1.5}', "$.value"],
      ["[]", "$"],
      ["{", "$"],
      ["", "$"],
      ['{"value":1} 2', "$"],
    ] as const) {
      await assert.rejects(host.callRaw(operation, json(text)), (error) => {
        assert(Fault.is(error, "INPUT_INVALID"), `${operation} ${text}: ${error}`);
        assert.equal(error.code, Code.INVALID_ARGUMENT);
        assert(error.message.includes(place), error.message);
        return true;
      });
    }
  }
});

test("anything but JSON passes unread", async (t) => {
  const plugin = new Plugin("test.images", "1.0.0").operation("copy", { input: raw }, (given: Payload) => given);
  const host = await hostOf(t, plugin);

  const got = await host.callRaw("copy", new Payload(Uint8Array.of(0, 255, 1), "image/png", { width: "1" }));

  assert.deepEqual([[...got.data], got.mediaType, got.metadata], [[0, 255, 1], "image/png", { width: "1" }]);
});

test("what an operation throws is its failure", async (t) => {
  const plugin = new Plugin("test.failures", "1.0.0")
    .operation("thrown", {}, () => {
      throw new Error("it broke");
    })
    .operation("rejected", {}, () => Promise.reject(new Error("it broke")))
    .operation("odd", {}, () => Promise.reject("not even an error"))
    .operation("declared", {}, () => {
      throw new OperationError("SOLD_OUT", "none is left", { metadata: { left: "0" }, retryAfter: 1000 });
    })
    .operation("fine", {}, () => {
      throw new OperationError("FINE", "code 0 says that it has not failed", { code: Code.OK });
    })
    .operation("endless", {}, () => Number.NaN)
    .operation("unwritable", {}, () => () => 1)
    .operation("huge", {}, () => "x".repeat(5 << 20));
  const host = await hostOf(t, plugin);

  for (const [operation, expected] of Object.entries({
    thrown: [Code.UNKNOWN, "PLUGIN_EXCEPTION", true, undefined],
    rejected: [Code.UNKNOWN, "PLUGIN_EXCEPTION", true, undefined],
    odd: [Code.UNKNOWN, "PLUGIN_EXCEPTION", true, undefined],
    declared: [Code.FAILED_PRECONDITION, "SOLD_OUT", true, 1000],
    fine: [Code.UNKNOWN, "FINE", false, undefined],
    endless: [Code.INTERNAL, "OUTPUT_INVALID", false, undefined],
    unwritable: [Code.INTERNAL, "OUTPUT_INVALID", false, undefined],
    huge: [Code.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", false, undefined],
    nothing: [Code.UNIMPLEMENTED, "OPERATION_NOT_FOUND", false, undefined],
  })) {
    await assert.rejects(host.call(operation), (error) => {
      assert(Fault.is(error));
      assert.deepEqual([error.code, error.reason, error.retryable, error.retryAfter], expected, operation);
      return true;
    });
  }
});

test("a failure says no more than the mesh carries", async (t) => {
  const metadata = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`key${index}`, "ü".repeat(2000)]));
  const plugin = new Plugin("test.failures", "1.0.0").operation("loud", {}, () => {
    throw new OperationError("LOUD", "ü".repeat(5000), { metadata });
  });
  const host = await hostOf(t, plugin);

  await assert.rejects(host.call("loud"), (error) => {
    assert(Fault.is(error, "LOUD"));
    assert(Buffer.byteLength(error.message) <= 1024 && error.message.endsWith("ü…"), error.message.slice(-3));
    assert.match(error.metadata.left_out ?? "", /of 2000 facts/);
    return true;
  });
});

test("a deadline and a cancellation reach the operation", async (t) => {
  const reasons: string[] = [];
  const begun = deferred();
  const heard = deferred();
  const plugin = new Plugin("test.patience", "1.0.0").operation("wait", {}, async (_, { signal, stepPath }) => {
    if (stepPath === "taken back") {
      begun.resolve();
    }
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    reasons.push(signal.reason.reason);
    if (stepPath === "taken back") {
      heard.resolve();
    }
    throw signal.reason;
  });
  const host = await hostOf(t, plugin);

  await assert.rejects(host.call("wait", {}, { remainingMillis: 20n }), { reason: "START_TO_CLOSE_TIMEOUT" });
  const invocation = Invocation.fromPartial({ operation: "wait", stepPath: "taken back" });
  const call = host.service.invoke({ invocation }, () => {});
  await begun.promise;
  call.cancel();
  await heard.promise;

  assert.deepEqual(reasons, ["START_TO_CLOSE_TIMEOUT", "CANCELLED"]);
});

test("no more run at a time than may, and the rest is refused behind the queue", async (t) => {
  const gate = deferred();
  let [running, most] = [0, 0];
  const plugin = new Plugin("test.gate", "1.0.0", { maxConcurrency: 2 }).operation("pass", {}, async () => {
    most = Math.max(most, ++running);
    await gate.promise;
    running--;
  });
  const host = await hostOf(t, plugin, { queue: 1 });

  const calls = Array.from({ length: 5 }, () =>
    host.call("pass").then(
      () => "passed",
      (error) => error.reason,
    ),
  );
  const refused = [await Promise.race(calls)];
  gate.resolve();
  const outcomes = await Promise.all(calls);

  assert.deepEqual(refused, ["INSTANCE_FULL"]);
  assert.deepEqual(outcomes.sort(), ["INSTANCE_FULL", "INSTANCE_FULL", "passed", "passed", "passed"]);
  assert.equal(most, 2);
});

test("a call for another process is refused", async (t) => {
  const host = await hostOf(
    t,
    new Plugin("test.echo", "1.0.0").operation("echo", {}, (given) => given),
  );

  await assert.rejects(host.call("echo", 1, { incarnation: 7n }), { reason: "WRONG_INCARNATION" });
});

test("a permit is good for one call, and an older one for none", async (t) => {
  const host = await hostOf(
    t,
    new Plugin("test.echo", "1.0.0").operation("echo", {}, (given) => given),
  );
  const permitted = (permitId: string, generation: bigint) =>
    host.call("echo", 1, { permit: { permitId, generation } });

  assert.equal(await permitted("a", 3n), 1);
  await assert.rejects(permitted("a", 3n), { reason: "PERMIT_REFUSED" });
  await assert.rejects(permitted("b", 2n), { reason: "PERMIT_REFUSED" });
  await assert.rejects(permitted("", 4n), { reason: "PERMIT_REFUSED" });
  assert.equal(await permitted("b", 4n), 1);
});

test("health has the names of the mesh, on both ports", async (t) => {
  const host = await hostOf(
    t,
    new Plugin("test.echo", "1.0.0").operation("echo", {}, (given) => given),
  );

  for (const name of ["", "readiness", "startup", "liveness", "forgemesh.api.plugin.v1.PluginService"]) {
    assert.equal(await host.health(name), "SERVING");
    assert.equal(await host.health(name, host.address), "SERVING");
  }
  await assert.rejects(host.health("nobody"), { code: Code.NOT_FOUND });
});

test("types become the schemas of the manifest", () => {
  const described = new Plugin("test.types", "1.0.0", { config: z.object({ retries: z.int().default(3) }) })
    .operation("echo", { input: number, output: z.string(), idempotent: true, timeout: 1500 }, () => "")
    .manifest();

  const [operation] = described.operations;
  const input = JSON.parse(operation?.inputSchema ?? "");
  assert.equal(input.properties.value.type, "integer");
  assert.deepEqual(input.required, ["value"]);
  assert.equal(JSON.parse(operation?.outputSchema ?? "").type, "string");
  assert.deepEqual(operation?.timeout, { seconds: 1n, nanos: 500_000_000 });
  assert.equal(JSON.parse(described.configSchema).properties.retries.default, 3);
});

test("mistakes in a plugin are told together", () => {
  const plugin = new Plugin("Not An Id", "one", {
    provides: ["nameless"],
    maxConcurrency: 0,
    config: { type: "no such" },
  })
    .operation("1st", {}, () => 1)
    .operation("1st", {}, () => 1);

  assert.throws(
    () => plugin.manifest(),
    ({ message }: Error) =>
      [
        "Not An Id",
        "one",
        "nameless",
        "maxConcurrency = 0",
        "configuration",
        "begins with no digit",
        "there twice",
      ].every((said) => message.includes(said)),
  );
});

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
