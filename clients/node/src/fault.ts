/** Refusals by the mesh, and failures of steps, with the reasons that programs may match. */

import { status as Code, Metadata, type StatusObject } from "@grpc/grpc-js";
import type { ErrorReason } from "./api/forgemesh/api/errors/v1/error_reason.js";
import type { Failure } from "./api/forgemesh/api/errors/v1/failure.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./api/google/rpc/error_details.js";
import { Status } from "./api/google/rpc/status.js";

export { Code };

/** A reason of the mesh's own; a plugin has others. */
export type Reason = Exclude<
  keyof typeof ErrorReason extends `ERROR_REASON_${infer Name}` ? Name : never,
  "UNSPECIFIED"
>;

const DETAILS = "grpc-status-details-bin";
const DOMAIN = "forgemesh.dev";
const TYPES = "type.googleapis.com/";

export interface FaultOptions {
  /** The canonical gRPC code. */
  code?: Code;
  /** Every varying word of the message, under stable keys. */
  metadata?: Readonly<Record<string, string>>;
  /** The wait that the other side asks for, in milliseconds. */
  retryAfter?: number;
  /** Of a step's failure whether another attempt can help. */
  retryable?: boolean;
  /** Where a step's failure arose. */
  stepPath?: string;
  /** The mistakes in what was asked, by field. */
  violations?: Readonly<Record<string, string>>;
  /** The failures that this one sums up, the first in time first. */
  causes?: readonly Fault[];
}

/** Its `reason` and `metadata` are what programs match; the wording of its `message` may change. */
export class Fault extends Error {
  override readonly name: string = "Fault";
  readonly code: Code;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfter: number | undefined;
  readonly retryable: boolean;
  readonly stepPath: string;
  readonly violations: Readonly<Record<string, string>>;
  readonly causes: readonly Fault[];

  constructor(
    readonly reason: Reason | (string & {}),
    message: string,
    options: FaultOptions = {},
  ) {
    super(message);
    this.code = options.code ?? Code.UNKNOWN;
    this.metadata = options.metadata ?? {};
    this.retryAfter = options.retryAfter;
    this.retryable = options.retryable ?? false;
    this.stepPath = options.stepPath ?? "";
    this.violations = options.violations ?? {};
    this.causes = options.causes ?? [];
  }

  /** Whether an error is a Fault, of this reason if one is named. */
  static is(error: unknown, reason?: Reason | (string & {})): error is Fault {
    return error instanceof Fault && (reason === undefined || error.reason === reason);
  }

  /** What an RPC ended with; what is no status stays as it is. */
  static from(error: unknown): unknown {
    if (!(error instanceof Error) || error instanceof Fault || !("code" in error) || !("details" in error)) {
      return error;
    }
    const { code, details, metadata } = error as Error & StatusObject;
    const packed = metadata?.get(DETAILS)[0];
    return packed instanceof Buffer ? detailed(code, details, packed) : new Fault("", details, { code });
  }

  /** A failure that is part of an answer. */
  static ofFailure(failure: Failure): Fault {
    return new Fault(failure.reason, failure.message, {
      code: failure.code,
      metadata: failure.metadata,
      ...(failure.retryAfterMillis > 0n ? { retryAfter: Number(failure.retryAfterMillis) } : {}),
      retryable: failure.retryable,
      stepPath: failure.stepPath,
      causes: failure.causes.map(Fault.ofFailure),
    });
  }

  /** As a status, so that a server may answer with it. */
  toStatus(): Partial<StatusObject> {
    const info = ErrorInfo.fromPartial({ reason: this.reason, domain: DOMAIN, metadata: { ...this.metadata } });
    const details = [{ typeUrl: `${TYPES}google.rpc.ErrorInfo`, value: bytes(ErrorInfo.encode(info).finish()) }];
    if (this.retryAfter !== undefined) {
      const retry = RetryInfo.fromPartial({ retryDelay: durationOf(this.retryAfter) });
      details.push({ typeUrl: `${TYPES}google.rpc.RetryInfo`, value: bytes(RetryInfo.encode(retry).finish()) });
    }
    const metadata = new Metadata();
    metadata.set(DETAILS, bytes(Status.encode({ code: this.code, message: this.message, details }).finish()));
    return { code: this.code, details: this.message, metadata };
  }
}

/** Milliseconds as a google.protobuf.Duration. */
export function durationOf(milliseconds: number): { seconds: bigint; nanos: number } {
  const whole = Math.floor(milliseconds / 1000);
  return { seconds: BigInt(whole), nanos: Math.round((milliseconds - whole * 1000) * 1e6) };
}

/** A google.protobuf.Duration in milliseconds. */
export function millisecondsOf(duration: { seconds: bigint; nanos: number }): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

function bytes(written: Uint8Array): Buffer {
  return Buffer.from(written.buffer, written.byteOffset, written.byteLength);
}

function detailed(code: Code, message: string, packed: Buffer): Fault {
  const options: FaultOptions = { code };
  let reason = "";
  for (const detail of Status.decode(packed).details) {
    switch (detail.typeUrl) {
      case `${TYPES}google.rpc.ErrorInfo`: {
        const info = ErrorInfo.decode(detail.value);
        reason = info.reason;
        options.metadata = info.metadata;
        break;
      }
      case `${TYPES}google.rpc.RetryInfo`: {
        const delay = RetryInfo.decode(detail.value).retryDelay;
        if (delay !== undefined) {
          options.retryAfter = millisecondsOf(delay);
        }
        break;
      }
      case `${TYPES}google.rpc.BadRequest`:
        options.violations = Object.fromEntries(
          BadRequest.decode(detail.value).fieldViolations.map((one) => [one.field, one.description]),
        );
    }
  }
  return new Fault(reason, message, options);
}
