/** Starts, watches and steers workflows of a mesh. */

export { IdConflictPolicy, IdReusePolicy } from "../api/forgemesh/api/orchestrator/v1/orchestrator_service.js";
export { Code, Fault, type Reason } from "../fault.js";
export { Payload } from "../payload.js";
export { findAddress } from "./address.js";
export type { CallOptions } from "./bounds.js";
export { Client, type ClientOptions, connect, type StartOptions } from "./client.js";
export {
  Execution,
  type ExecutionEvent,
  ExecutionFailed,
  ExecutionStatus,
  type SignalOptions,
  type State,
  type StopOptions,
  type WatchOptions,
} from "./execution.js";
