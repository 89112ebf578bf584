/** Failures as data, within the bounds that the mesh sets. */

import type { Failure } from "../api/forgemesh/api/errors/v1/failure.js";
import { Code, Fault, type FaultOptions } from "../fault.js";

const LONGEST_TEXT = 1024;
const MOST_FACTS = 256 * 1024;
const LONGEST_RETRY = 366 * 24 * 3_600_000;
export const MOST_OUTPUT = 4 * (1 << 20) - 64 * 1024;
export const MOST_DETAILS = 64 * 1024;

export interface FailOptions extends Pick<FaultOptions, "code" | "metadata" | "retryAfter" | "retryable"> {}

/**
 * What an operation throws when it has failed: a reason in capitals that programs match, a message for people. Its code is
 * FAILED_PRECONDITION if none is named; with `retryAfter` it is retryable.
 */
export class OperationError extends Fault {
  override readonly name = "OperationError";

  constructor(reason: string, message: string, options: FailOptions = {}) {
    super(reason, message, {
      ...options,
      code: options.code === Code.OK ? Code.UNKNOWN : (options.code ?? Code.FAILED_PRECONDITION),
      retryable: options.retryable ?? options.retryAfter !== undefined,
    });
  }
}

/** An input or an output that does not fit its operation's types. */
export class Misfit extends Error {
  override readonly name = "Misfit";
}

/** A fault as it travels. */
export function failureOf(fault: Fault, stepPath: string): Failure {
  const pause = Math.min(Math.max(0, fault.retryAfter ?? 0), LONGEST_RETRY);
  return {
    code: fault.code,
    reason: cut(fault.reason),
    message: cut(fault.message),
    metadata: facts(fault.metadata),
    retryable: fault.retryable,
    stepPath,
    retryAfterMillis: BigInt(Math.ceil(pause)),
    causes: [],
  };
}

/** At most a kibibyte, and nothing that is not UTF-8. */
export function cut(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= LONGEST_TEXT) {
    return bytes.toString();
  }
  let end = LONGEST_TEXT - 3;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) {
    end--;
  }
  return `${bytes.toString("utf8", 0, end)}…`;
}

/** As many as a failure may say; what had to be left out is said instead. */
function facts(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const kept: Record<string, string> = {};
  const keys = Object.keys(metadata).sort();
  let size = 0;
  for (const [count, key] of keys.entries()) {
    const [name, value] = [cut(key), cut(String(metadata[key]))];
    size += Buffer.byteLength(name) + Buffer.byteLength(value) + 16;
    if (size > MOST_FACTS) {
      kept.left_out = `${keys.length - count} of ${keys.length} facts, beyond ${MOST_FACTS} bytes`;
      break;
    }
    kept[name] = value;
  }
  return kept;
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function inputInvalid(plugin: string, operation: string, cause: string): Fault {
  return new Fault("INPUT_INVALID", `the input does not fit ${plugin}/${operation}: ${cause}`, {
    code: Code.INVALID_ARGUMENT,
    metadata: { plugin_id: plugin, operation, cause },
  });
}

export function outputInvalid(plugin: string, operation: string, cause: string): Fault {
  return new Fault("OUTPUT_INVALID", `what ${plugin}/${operation} returned cannot be sent: ${cause}; mend the plugin`, {
    code: Code.INTERNAL,
    metadata: { plugin_id: plugin, operation, cause },
  });
}

export function pluginException(plugin: string, operation: string, error: unknown): Fault {
  const said = textOf(error);
  return new Fault("PLUGIN_EXCEPTION", `${plugin}/${operation} threw an error: ${said}; the instance's log has it`, {
    code: Code.UNKNOWN,
    retryable: true,
    metadata: { plugin_id: plugin, operation, error: said },
  });
}

export function tooLarge(what: string, size: number, limit: number): Fault {
  const message = `${what} has ${size} bytes, the mesh carries ${limit}; pass a reference to the data instead`;
  return new Fault("PAYLOAD_TOO_LARGE", message, {
    code: Code.RESOURCE_EXHAUSTED,
    metadata: { what, size: String(size), limit: String(limit) },
  });
}

export function cancelled(stepPath: string): Fault {
  return new Fault("CANCELLED", `${JSON.stringify(stepPath)} was cancelled by the end of what is around it`, {
    code: Code.CANCELLED,
    metadata: { step_path: stepPath },
  });
}

export function timedOut(stepPath: string, length: number): Fault {
  const seconds = String(length / 1000);
  const message = `an attempt at ${JSON.stringify(stepPath)} took longer than its start_to_close of ${seconds} s`;
  return new Fault("START_TO_CLOSE_TIMEOUT", message, {
    code: Code.DEADLINE_EXCEEDED,
    retryable: true,
    metadata: { step_path: stepPath, seconds },
  });
}

export function operationNotFound(plugin: string, operation: string, known: string): Fault {
  const message = `plugin ${JSON.stringify(plugin)} has no operation ${JSON.stringify(operation)}; it has: ${known}`;
  return new Fault("OPERATION_NOT_FOUND", message, {
    code: Code.UNIMPLEMENTED,
    metadata: { plugin_id: plugin, operation, known },
  });
}

export function instanceFull(instance: string, running: number): Fault {
  const message = `instance ${JSON.stringify(instance)} runs ${running} calls and its queue is full; try another one`;
  return new Fault("INSTANCE_FULL", message, {
    code: Code.RESOURCE_EXHAUSTED,
    retryable: true,
    retryAfter: 100,
    metadata: { instance_id: instance, running: String(running) },
  });
}

export function queueTooLong(instance: string, wait: number, left: number): Fault {
  const [come, waits] = [(wait / 1000).toPrecision(3), (left / 1000).toPrecision(3)];
  const message = `instance ${JSON.stringify(instance)} would come to the call in about ${come} s, its caller waits ${waits} s; try another one, or later`;
  return new Fault("QUEUE_TOO_LONG", message, {
    code: Code.RESOURCE_EXHAUSTED,
    retryable: true,
    retryAfter: wait,
    metadata: { instance_id: instance, wait: come, left: waits },
  });
}

export function instanceDraining(instance: string): Fault {
  const message = `instance ${JSON.stringify(instance)} drains and takes no new calls; try another one`;
  return new Fault("INSTANCE_DRAINING", message, {
    code: Code.UNAVAILABLE,
    retryable: true,
    metadata: { instance_id: instance },
  });
}

export function wrongIncarnation(instance: string, wanted: bigint, current: bigint): Fault {
  const message = `instance ${JSON.stringify(instance)} is at incarnation ${current}, the call was meant for ${wanted}`;
  return new Fault("WRONG_INCARNATION", message, {
    code: Code.FAILED_PRECONDITION,
    retryable: true,
    metadata: { instance_id: instance, wanted: String(wanted), current: String(current) },
  });
}

export function permitRefused(instance: string, permit: string, why: string): Fault {
  const message = `instance ${JSON.stringify(instance)} makes no trial call for permit ${JSON.stringify(permit)}: ${why}; pick an instance anew`;
  return new Fault("PERMIT_REFUSED", message, {
    code: Code.FAILED_PRECONDITION,
    retryable: true,
    metadata: { instance_id: instance, permit_id: permit, why },
  });
}

export function protocolUnsupported(protocol: number, low: number, high: number): Fault {
  const [host, caller] = [`${protocol}..${protocol}`, `${low}..${high}`];
  const message = `this host speaks session protocols ${host}, the caller ${caller}; bring the older side up to date`;
  return new Fault("PROTOCOL_UNSUPPORTED", message, { code: Code.FAILED_PRECONDITION, metadata: { host, caller } });
}

export function invalidRequest(field: string, what: string): Fault {
  return new Fault("INVALID_REQUEST", `${field}: ${what}`, { code: Code.INVALID_ARGUMENT, metadata: { field } });
}
