/** The conformance plugin in TypeScript: what it does is said in tests/languages/README.md. */

import { appendFileSync, existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { trace } from "@opentelemetry/api";
import { main, OperationError, type Payload, Plugin, raw } from "forgemesh/plugin";
import { z } from "zod";

const ledger = z.object({ ledger: z.string() });
const config = z.object({ greeting: z.string().default("") });
let greeting = "";

function note(path: string, word: string): void {
  appendFileSync(path, `${word}\n`);
}

const conformance = new Plugin("conformance.node", "1.0.0", {
  maxConcurrency: 4,
  config,
  configure: (given) => {
    if (given.greeting === "rude") {
      throw new Error("nobody is greeted like that");
    }
    greeting = given.greeting;
  },
});

conformance.operation("echo", { input: raw, output: raw, idempotent: true }, (given: Payload) => given);

conformance.operation(
  "numbers",
  {
    input: z.object({
      signed: z.int64(),
      unsigned: z.uint64(),
      fraction: z.number(),
      text: z.string(),
      flag: z.boolean(),
    }),
    idempotent: true,
  },
  (given) => given,
);

conformance.operation(
  "fail",
  {
    input: z.object({
      code: z.int(),
      reason: z.string(),
      message: z.string(),
      retryable: z.boolean(),
      metadata: z.record(z.string(), z.string()),
    }),
  },
  ({ reason, message, ...more }) => {
    throw new OperationError(reason, message, more);
  },
);

conformance.operation("broken", {}, () => {
  throw new TypeError("as it was asked to");
});

conformance.operation("wait", { input: ledger }, async (given, call) => {
  note(given.ledger, "begun");
  await new Promise((resolve) => call.signal.addEventListener("abort", resolve));
  note(given.ledger, "cancelled");
  call.signal.throwIfAborted();
});

conformance.operation("slow", { input: ledger, output: z.string() }, async (given) => {
  note(given.ledger, "begun");
  while (!existsSync(`${given.ledger}.go`)) {
    await sleep(5);
  }
  return "done";
});

conformance.operation("exit", { output: z.int(), idempotent: true }, (_, call) => {
  if (call.attempt === 1) {
    process.exit(9);
  }
  return call.attempt;
});

conformance.operation("context", { idempotent: true }, (_, call) => {
  trace.getTracer("conformance").startSpan("own").end();
  return {
    namespace: call.namespace,
    execution_id: call.executionId,
    step_path: call.stepPath,
    attempt: call.attempt,
    idempotency_key: call.idempotencyKey,
    traceparent: call.traceparent,
    has_deadline: call.deadline.getTime() > Date.now(),
    greeting,
  };
});

conformance.operation("resume", {}, (_, call) => {
  if (call.details === undefined) {
    call.progress(0.5, "half", { at: 2n ** 53n + 1n });
    throw new OperationError("NOT_YET", "once more", { code: 10, retryable: true });
  }
  return call.details.decode();
});

conformance.operation("fill", { input: z.object({ bytes: z.int() }), output: z.string() }, ({ bytes }) =>
  "x".repeat(bytes),
);

await main(conformance);
