package forgemesh_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forgemesh "forgemesh.dev/go"
	errorsv1 "forgemesh.dev/go/forgemesh/api/errors/v1"
)

func TestAFaultSurvivesItsWayOverTheWire(t *testing.T) {
	sent := &forgemesh.Fault{
		Code:       codes.FailedPrecondition,
		Reason:     "WRONG_INCARNATION",
		Message:    "it is another one",
		Metadata:   map[string]string{"wanted": "7"},
		RetryAfter: 150 * time.Millisecond,
	}

	got := forgemesh.FaultOf(sent.GRPCStatus().Err())

	var fault *forgemesh.Fault
	if !errors.As(got, &fault) {
		t.Fatalf("%v is no fault", got)
	}
	if fault.Code != sent.Code || fault.Metadata["wanted"] != "7" || fault.RetryAfter != sent.RetryAfter {
		t.Errorf("got %+v", fault)
	}
	if !errors.Is(got, forgemesh.Reason("WRONG_INCARNATION")) || errors.Is(got, forgemesh.Reason("INTERNAL")) {
		t.Errorf("%v is matched by the wrong reason", got)
	}
}

func TestViolationsAreNamedByTheirField(t *testing.T) {
	told, err := status.New(codes.InvalidArgument, "two mistakes").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "source", Description: "is missing"}},
	})
	if err != nil {
		t.Fatal(err)
	}

	var fault *forgemesh.Fault
	if !errors.As(forgemesh.FaultOf(told.Err()), &fault) || fault.Violations["source"] != "is missing" {
		t.Errorf("got %+v", fault)
	}
}

func TestTheCallersOwnContextIsNoFault(t *testing.T) {
	for _, err := range []error{nil, context.Canceled, context.DeadlineExceeded} {
		if got := forgemesh.FaultOf(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestCausesOfAFailureAreFoundInIt(t *testing.T) {
	failure := &errorsv1.Failure{Reason: "BRANCHES_FAILED", Causes: []*errorsv1.Failure{{Reason: "SOLD_OUT"}}}

	if fault := forgemesh.FailureOf(failure); !errors.Is(fault, forgemesh.Reason("SOLD_OUT")) {
		t.Errorf("the cause is not in %v", fault)
	}
}

func TestIntegersOfAnySizeStayExact(t *testing.T) {
	const text = `{"large":9223372036854775807,"larger":18446744073709551616}`
	var value map[string]any
	if err := (forgemesh.Payload{Data: []byte(text)}).Decode(&value); err != nil {
		t.Fatal(err)
	}

	again, err := forgemesh.Encode(value)

	if err != nil || string(again.Data) != text {
		t.Errorf("got %s, %v", again.Data, err)
	}
}

func TestWhatFollowsTheValueIsRefused(t *testing.T) {
	for _, text := range []string{"{} {}", "1 2", `"a" x`, ""} {
		var value any
		if err := (forgemesh.Payload{Data: []byte(text)}).Decode(&value); err == nil {
			t.Errorf("%q was read as %v", text, value)
		}
	}
}
