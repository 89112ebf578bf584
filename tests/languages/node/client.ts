/** The conformance client in TypeScript: what it does is said in tests/languages/README.md. */

import { createInterface } from "node:readline";
import { context, ROOT_CONTEXT } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { Fault, parseJson, stringifyJson } from "forgemesh";
import { type CallOptions, connect, ExecutionFailed, ExecutionStatus, type StartOptions } from "forgemesh/client";

interface Asked {
  do: string;
  source: string;
  workflow: string;
  input: unknown;
  execution_id?: string;
  request_id?: string;
  signal: string;
  traceparent?: string;
  seconds?: number;
}

type Told = Record<string, unknown>;

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
const mesh = connect();

async function answer(asked: Asked, told: Told): Promise<void> {
  const options: CallOptions = asked.seconds === undefined ? {} : { timeout: asked.seconds * 1000 };
  switch (asked.do) {
    case "register":
      await mesh.register(asked.source, options);
      return;
    case "run":
    case "start":
    case "watch": {
      const starting: StartOptions = { ...options };
      if (asked.execution_id !== undefined) {
        starting.executionId = asked.execution_id;
      }
      if (asked.request_id !== undefined) {
        starting.requestId = asked.request_id;
      }
      const execution = await mesh.start(asked.workflow, asked.input, starting);
      told.execution_id = execution.id;
      told.trace_id = execution.traceId;
      if (asked.do === "watch") {
        const sequences: bigint[] = [];
        for await (const event of execution.watch(options)) {
          sequences.push(event.sequence);
        }
        told.sequences = sequences;
      }
      if (asked.do !== "start") {
        told.output = await execution.result(options);
      }
      return;
    }
  }
  const execution = await mesh.execution(asked.execution_id ?? "", options);
  told.execution_id = execution.id;
  switch (asked.do) {
    case "signal":
      await execution.signal(asked.signal, asked.input, {
        ...options,
        ...(asked.request_id === undefined ? {} : { id: asked.request_id }),
      });
      return;
    case "cancel":
      await execution.cancel({ ...options, reason: "asked to" });
      return;
    case "result":
      told.output = await execution.result(options);
      return;
    default:
      throw new Error(`cannot do ${asked.do}`);
  }
}

async function answered(asked: Asked): Promise<Told> {
  const told: Told = {};
  try {
    const carrier = { traceparent: asked.traceparent ?? "" };
    const getter = { get: () => carrier.traceparent, keys: () => ["traceparent"] };
    const caller = new W3CTraceContextPropagator().extract(ROOT_CONTEXT, carrier, getter);
    await context.with(caller, () => answer(asked, told));
  } catch (error) {
    if (error instanceof ExecutionFailed) {
      told.status = ExecutionStatus[error.status];
    }
    if (Fault.is(error)) {
      const { code, reason, message, metadata } = error;
      Object.assign(told, { code, reason, message, metadata });
    } else if (error instanceof DOMException && error.name === "TimeoutError") {
      told.deadline = true;
    } else {
      told.message = String(error);
    }
  }
  return told;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${stringifyJson(await answered(parseJson(line) as Asked))}\n`);
}
mesh.close();
