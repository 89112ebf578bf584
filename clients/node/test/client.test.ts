import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServerUnaryCall, ServerWritableStream, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import { context, propagation, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { Execution } from "../src/api/forgemesh/api/orchestrator/v1/execution.js";
import {
  GetExecutionResponse,
  OrchestratorServiceService,
  type StartExecutionRequest,
  StartExecutionResponse,
  type WatchExecutionRequest,
  WatchExecutionResponse,
} from "../src/api/forgemesh/api/orchestrator/v1/orchestrator_service.js";
import { type Client, type ClientOptions, connect, ExecutionFailed, ExecutionStatus } from "../src/client/index.js";
import { Code, Fault } from "../src/fault.js";
import { served } from "./servers.js";

type Starting = ServerUnaryCall<StartExecutionRequest, StartExecutionResponse>;
type Watching = ServerWritableStream<WatchExecutionRequest, WatchExecutionResponse>;

const AWAY = new Fault("", "the orchestrator stops", { code: Code.UNAVAILABLE });

async function meshOf(
  t: TestContext,
  methods: UntypedServiceImplementation,
  options: ClientOptions = {},
): Promise<Client> {
  const address = await served(t, OrchestratorServiceService, methods);
  const mesh = connect({ address, ...options });
  t.after(() => mesh.close());
  return mesh;
}

function executionOf(
  status = ExecutionStatus.EXECUTION_STATUS_RUNNING,
  more: Parameters<typeof Execution.fromPartial>[0] = {},
) {
  return Execution.fromPartial({ namespace: "default", executionId: "e", runId: "r", status, ...more });
}

function started(execution = executionOf()): StartExecutionResponse {
  return StartExecutionResponse.fromPartial({ execution });
}

test("a call is repeated while the orchestrator is away or asks for later", async (t) => {
  let asked = 0;
  const refusals = [new Fault("OVERLOADED", "later", { code: Code.RESOURCE_EXHAUSTED, retryAfter: 1 }), AWAY, AWAY];
  const mesh = await meshOf(t, {
    getExecution: (_: unknown, answer: sendUnaryData<GetExecutionResponse>) => {
      asked++;
      const refusal = refusals.shift();
      refusal
        ? answer(refusal.toStatus())
        : answer(null, GetExecutionResponse.fromPartial({ execution: executionOf() }));
    },
  });

  const execution = await mesh.execution("e");

  assert.equal(execution.runId, "r");
  assert.equal(asked, 4);
});

test("a pause that the mesh asks for and that is longer than the patience is not waited for", async (t) => {
  let asked = 0;
  const mesh = await meshOf(t, {
    getExecution: (_: unknown, answer: sendUnaryData<GetExecutionResponse>) => {
      asked++;
      answer(new Fault("OVERLOADED", "later", { code: Code.RESOURCE_EXHAUSTED, retryAfter: 60_000 }).toStatus());
    },
  });

  await assert.rejects(mesh.execution("e"), { reason: "OVERLOADED", retryAfter: 60_000 });

  assert.equal(asked, 1);
});

test("what may not be repeated is asked once, and a refusal for good as well", async (t) => {
  let asked = 0;
  let refusal = AWAY;
  const mesh = await meshOf(t, {
    startExecution: (_: Starting, answer: sendUnaryData<StartExecutionResponse>) => {
      asked++;
      answer(refusal.toStatus());
    },
  });

  await assert.rejects(mesh.start("w"), { code: Code.UNAVAILABLE });
  refusal = new Fault("DEFINITION_NOT_FOUND", "register it", { code: Code.NOT_FOUND, metadata: { name: "w" } });
  await assert.rejects(mesh.start("w", null, { requestId: "once" }), (error) => {
    assert(Fault.is(error, "DEFINITION_NOT_FOUND"));
    assert.deepEqual(error.metadata, { name: "w" });
    return true;
  });

  assert.equal(asked, 2);
});

test("an orchestrator that stays away ends the patience, not sooner and not never", async (t) => {
  let asked = 0;
  const mesh = await meshOf(
    t,
    {
      getExecution: (_: unknown, answer: sendUnaryData<GetExecutionResponse>) => {
        asked++;
        answer(AWAY.toStatus());
      },
    },
    { patience: 400 },
  );

  await assert.rejects(mesh.execution("e"), { code: Code.UNAVAILABLE });

  assert(asked > 1, String(asked));
});

test("a watch goes on where it broke, without a gap and without repetition", async (t) => {
  const froms: bigint[] = [];
  const mesh = await meshOf(t, {
    startExecution: (_: Starting, answer: sendUnaryData<StartExecutionResponse>) => answer(null, started()),
    watchExecution: (call: Watching) => {
      const from = call.request.fromSequence;
      froms.push(from);
      const events = [from - 1n, from, from + 1n].map((sequence) => ({ sequence })); // one that was seen already
      call.write(WatchExecutionResponse.fromPartial({ events }));
      if (froms.length < 3) {
        call.emit("error", AWAY.toStatus());
      } else {
        call.end();
      }
    },
  });
  const execution = await mesh.start("w");

  const sequences: bigint[] = [];
  for await (const event of execution.watch()) {
    sequences.push(event.sequence);
  }

  assert.deepEqual(sequences, [1n, 2n, 3n, 4n, 5n, 6n]);
  assert.deepEqual(froms, [1n, 3n, 5n]);
});

test("who stops watching ends the stream", async (t) => {
  let hasEnded = () => {};
  const ended = new Promise<void>((resolve) => {
    hasEnded = resolve;
  });
  const mesh = await meshOf(t, {
    startExecution: (_: Starting, answer: sendUnaryData<StartExecutionResponse>) => answer(null, started()),
    watchExecution: (call: Watching) => {
      call.on("cancelled", hasEnded);
      call.write(WatchExecutionResponse.fromPartial({ events: [{ sequence: 1n }, { sequence: 2n }] }));
    },
  });
  const execution = await mesh.start("w");

  for await (const event of execution.watch()) {
    assert.equal(event.sequence, 1n);
    break;
  }

  await ended;
});

test("a timeout and a signal end the waiting, each with its own reason", async (t) => {
  let isWatched = () => {};
  const watched = new Promise<void>((resolve) => {
    isWatched = resolve;
  });
  const mesh = await meshOf(t, {
    startExecution: (_: Starting, answer: sendUnaryData<StartExecutionResponse>) => answer(null, started()),
    getExecution: (_: unknown, answer: sendUnaryData<GetExecutionResponse>) =>
      answer(null, GetExecutionResponse.fromPartial({ execution: executionOf() })),
    watchExecution: () => isWatched(),
    getMesh: () => {},
  });
  const execution = await mesh.start("w");
  const leaving = new AbortController();
  const why = new Error("the user has left");

  await assert.rejects(mesh.services({ timeout: 50 }), { name: "TimeoutError" });
  await assert.rejects(execution.result({ timeout: 100 }), { name: "TimeoutError" });
  const waiting = execution.result({ signal: leaving.signal });
  await watched;
  leaving.abort(why);
  await assert.rejects(waiting, why);
  await assert.rejects(mesh.start("w", null, { signal: leaving.signal }), why);
});

test("a result is the output, or the failure with all that it says", async (t) => {
  const ends = [
    executionOf(ExecutionStatus.EXECUTION_STATUS_SUCCEEDED, {
      output: { data: Buffer.from('{"n":12345678901234567890}') },
    }),
    executionOf(ExecutionStatus.EXECUTION_STATUS_FAILED, {
      failure: { code: 9, reason: "SOLD_OUT", message: "none is left", metadata: { left: "0" } },
    }),
  ];
  const mesh = await meshOf(t, {
    startExecution: (_: Starting, answer: sendUnaryData<StartExecutionResponse>) => answer(null, started(ends.shift())),
  });

  assert.deepEqual(await mesh.run("w"), { n: 12345678901234567890n });
  await assert.rejects(mesh.run("w"), (error) => {
    assert(error instanceof ExecutionFailed && Fault.is(error, "SOLD_OUT"));
    assert.deepEqual(
      [error.executionId, error.status, error.code, error.message, error.metadata],
      ["e", ExecutionStatus.EXECUTION_STATUS_FAILED, 9, "none is left", { left: "0" }],
    );
    return true;
  });
});

test("the active span and the baggage go along with a start", async (t) => {
  const seen: unknown[] = [];
  const mesh = await meshOf(t, {
    startExecution: (call: Starting, answer: sendUnaryData<StartExecutionResponse>) => {
      seen.push(call.metadata.get("traceparent")[0], call.metadata.get("baggage")[0]);
      answer(null, started());
    },
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const span = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", traceFlags: 1 };
  const baggage = propagation.createBaggage({ tenant: { value: "acme" } });
  const active = propagation.setBaggage(trace.setSpanContext(ROOT_CONTEXT, span), baggage);

  await context.with(active, () => mesh.start("w"));

  assert.deepEqual(seen, [`00-${span.traceId}-${span.spanId}-01`, "tenant=acme"]);
});

test("a start says all that it was given", async (t) => {
  let seen: StartExecutionRequest | undefined;
  const mesh = await meshOf(
    t,
    {
      startExecution: (call: Starting, answer: sendUnaryData<StartExecutionResponse>) => {
        seen = call.request;
        answer(null, started());
      },
    },
    { namespace: "shop" },
  );

  await mesh.start(
    "w",
    { n: 2n ** 60n },
    {
      executionId: "mine",
      requestId: "once",
      version: "1.2.0",
      priority: -3,
      paused: true,
      signalWithStart: { name: "go", payload: [1], id: "s" },
    },
  );

  assert.deepEqual(
    [seen?.namespace, seen?.executionId, seen?.requestId, seen?.workflowVersion, seen?.priority, seen?.paused],
    ["shop", "mine", "once", "1.2.0", -3, true],
  );
  assert.equal(Buffer.from(seen?.input?.data ?? []).toString(), '{"n":1152921504606846976}');
  assert.deepEqual([seen?.signal?.name, seen?.signal?.signalId], ["go", "s"]);
});
