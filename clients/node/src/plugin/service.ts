/** PluginService: it translates, and decides nothing. */

import type { ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Manifest } from "../api/forgemesh/api/plugin/v1/manifest.js";
import type {
  DescribeResponse,
  InvokeRequest,
  InvokeResponse,
  PluginServiceServer,
} from "../api/forgemesh/api/plugin/v1/plugin_service.js";
import { Fault } from "../fault.js";
import type { Receiver, RunningCall } from "./call.js";
import { failureOf, invalidRequest } from "./failure.js";
import type { Host } from "./host.js";
import type { LoadMeter } from "./load.js";
import type { Sessions } from "./session.js";

export function pluginService(host: Host, sessions: Sessions, load: LoadMeter, manifest: Manifest) {
  const service: PluginServiceServer = {
    describe: (_, answer: sendUnaryData<DescribeResponse>) => {
      const { instanceId, incarnation } = host.identity;
      answer(null, { manifest, instanceId, incarnation });
    },
    invoke: (call, answer) => {
      try {
        invoke(host, load, call, answer);
      } catch (error) {
        answer(Fault.is(error) ? error.toStatus() : (error as Error));
      }
    },
    session: (stream) => sessions.serve(stream),
  };
  return service as UntypedServiceImplementation;
}

/** Makes one call. Its failure is part of the answer; an error status says that it did not run. */
function invoke(
  host: Host,
  load: LoadMeter,
  call: ServerUnaryCall<InvokeRequest, InvokeResponse>,
  answer: sendUnaryData<InvokeResponse>,
): void {
  const { invocation } = call.request;
  if (invocation === undefined) {
    throw invalidRequest("invocation", "is missing");
  }
  const receiver: Receiver = {
    begun: () => {},
    answered: (running) => {
      load.tellCaller(call.getMetricsRecorder());
      answer(null, { result: running.result() });
    },
    released: () => {},
    progressed: () => {},
  };
  const deadline = call.getDeadline();
  const left = deadline instanceof Date || Number.isFinite(deadline) ? Number(deadline) - Date.now() : undefined;
  let taken: RunningCall;
  try {
    taken = host.take(invocation, receiver, false, left);
  } catch (error) {
    if (!Fault.is(error, "OPERATION_NOT_FOUND")) {
      throw error;
    }
    const { callId, attempt, stepPath } = invocation;
    const outcome = { $case: "failure" as const, value: failureOf(error, stepPath) };
    answer(null, { result: { callId, attempt, outcome, queuedMicros: 0n, ranMicros: 0n } });
    return;
  }
  call.on("cancelled", () => host.cancel(taken));
}
