"use strict";

// Registers a workflow, runs it, watches it to its end, and is refused once; tells all of it as lines of JSON.
//
// This is what a team without any SDK writes: nothing but @grpc/grpc-js, @grpc/proto-loader and the protos.
//
//   node watch_example.js --address 127.0.0.1:7401 --protos ../../../protos --definition workflow.yaml --input '{}'

const fs = require("node:fs");
const path = require("node:path");
const { parseArgs, promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const DEADLINE_MILLIS = 60_000;
const WATCH_MILLIS = 120_000;

function tell(kind, facts) {
  process.stdout.write(`${JSON.stringify({ kind, ...facts })}\n`);
}

function load(protos) {
  const files = ["forgemesh/api/orchestrator/v1/orchestrator_service.proto", path.join(__dirname, "google_rpc.proto")];
  // int64 as text, because a number would lose digits; bytes as base64
  return protoLoader.loadSync(files, { includeDirs: [protos], keepCase: true, longs: String, enums: String, bytes: String });
}

function within(milliseconds) {
  return { deadline: Date.now() + milliseconds };
}

function unary(client, name) {
  const call = promisify(client[name]).bind(client);
  return (request, metadata = new grpc.Metadata()) => call(request, metadata, within(DEADLINE_MILLIS));
}

function toPayload(value) {
  return { media_type: "application/json", data: Buffer.from(JSON.stringify(value)).toString("base64") };
}

function fromPayload(payload) {
  return payload && JSON.parse(Buffer.from(payload.data, "base64").toString("utf8"));
}

// What the mesh says about a refusal beyond code and text.
function reasonOf(error, definitions) {
  const [trailer] = error.metadata.get("grpc-status-details-bin");
  if (trailer === undefined) {
    return {};
  }
  const status = definitions["google.rpc.Status"].deserialize(trailer);
  const info = status.details.find((detail) => detail.type_url.endsWith("/google.rpc.ErrorInfo"));
  return info ? definitions["google.rpc.ErrorInfo"].deserialize(Buffer.from(info.value, "base64")) : {};
}

async function watch(client, executionId) {
  const responses = client.WatchExecution({ execution_id: executionId }, within(WATCH_MILLIS));
  for await (const response of responses) {
    for (const event of response.events) {
      tell("event", { event });
    }
  }
}

async function run(client, given) {
  const source = fs.readFileSync(given.definition, "utf8");
  const { definition, created } = await unary(client, "RegisterDefinition")({ source });
  tell("registered", { name: definition.name, version: definition.version, created: Boolean(created) });

  const metadata = new grpc.Metadata();
  if (given.traceparent) {
    metadata.set("traceparent", given.traceparent);
  }
  const request = { workflow: definition.name, request_id: given["request-id"], input: toPayload(JSON.parse(given.input)) };
  const started = await unary(client, "StartExecution")(request, metadata);
  tell("started", { execution_id: started.execution.execution_id, trace_id: started.execution.trace_id });

  await watch(client, started.execution.execution_id);
  const { execution } = await unary(client, "GetExecution")({ execution_id: started.execution.execution_id });
  tell("ended", { status: execution.status, output: fromPayload(execution.output), failure: execution.failure });
}

async function beRefused(client, definitions) {
  try {
    await unary(client, "StartExecution")({ workflow: "nobody-registered-this" });
  } catch (error) {
    const { reason, domain, metadata } = reasonOf(error, definitions);
    tell("refused", { code: grpc.status[error.code], message: error.details, reason, domain, metadata });
  }
}

async function main() {
  const text = { type: "string" };
  const { values } = parseArgs({
    options: { address: text, protos: text, definition: text, input: text, traceparent: text, "request-id": text },
  });
  const definitions = load(values.protos);
  const { OrchestratorService } = grpc.loadPackageDefinition(definitions).forgemesh.api.orchestrator.v1;
  const client = new OrchestratorService(values.address, grpc.credentials.createInsecure());
  try {
    await run(client, values);
    await beRefused(client, definitions);
  } finally {
    client.close();
  }
}

main().catch((error) => {
  process.stderr.write(`error: ${error.stack}\n`);
  process.exitCode = 1;
});
