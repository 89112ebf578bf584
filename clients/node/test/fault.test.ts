import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../src/api/forgemesh/api/errors/v1/failure.js";
import { BadRequest } from "../src/api/google/rpc/error_details.js";
import { Status } from "../src/api/google/rpc/status.js";
import { Code, Fault } from "../src/fault.js";

test("a fault survives its way over the wire", () => {
  const sent = new Fault("WRONG_INCARNATION", "it is another one", {
    code: Code.FAILED_PRECONDITION,
    metadata: { wanted: "7" },
    retryAfter: 150,
  });

  const got = Fault.from(Object.assign(new Error(), sent.toStatus()));

  assert(Fault.is(got, "WRONG_INCARNATION"));
  assert.equal(Fault.is(sent, "INTERNAL"), false);
  assert.deepEqual([got.code, got.message, got.metadata, got.retryAfter], [9, sent.message, { wanted: "7" }, 150]);
});

test("violations are named by their field", () => {
  const fieldViolations = [{ field: "source", description: "is missing" }];
  const details = [
    {
      typeUrl: "type.googleapis.com/google.rpc.BadRequest",
      value: Buffer.from(BadRequest.encode(BadRequest.fromPartial({ fieldViolations })).finish()),
    },
    { typeUrl: "type.googleapis.com/google.rpc.NobodyKnows", value: Buffer.from([1]) },
  ];
  const { metadata } = new Fault("", "").toStatus();
  metadata?.set(
    "grpc-status-details-bin",
    Buffer.from(Status.encode({ code: 3, message: "two mistakes", details }).finish()),
  );

  const got = Fault.from(Object.assign(new Error(), { code: 3, details: "two mistakes", metadata }));

  assert(Fault.is(got));
  assert.deepEqual(got.violations, { source: "is missing" });
});

test("a failure of an answer keeps its causes", () => {
  const failure = Failure.fromPartial({
    code: 10,
    reason: "ALL_FAILED",
    message: "both branches failed",
    retryable: true,
    retryAfterMillis: 20n,
    stepPath: "a/b",
    causes: [{ reason: "SOLD_OUT", metadata: { left: "0" } }],
  });

  const fault = Fault.ofFailure(failure);

  assert.deepEqual([fault.code, fault.retryable, fault.retryAfter, fault.stepPath], [10, true, 20, "a/b"]);
  assert.deepEqual(
    fault.causes.map((cause) => [cause.reason, cause.metadata]),
    [["SOLD_OUT", { left: "0" }]],
  );
});

test("what is no status stays as it is", () => {
  const error = new RangeError("of the caller's own");

  assert.equal(Fault.from(error), error);
});
