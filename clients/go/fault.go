package forgemesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	errorsv1 "forgemesh.dev/go/forgemesh/api/errors/v1"
)

// Domain is the domain of the mesh's own reasons in google.rpc.ErrorInfo.
const Domain = "forgemesh.dev"

// Fault is a refusal by the mesh, or the failure of a step, with the reason that programs may match.
type Fault struct {
	// Code is the canonical gRPC code.
	Code codes.Code
	// Reason is a name from forgemesh.api.errors.v1.ErrorReason without its prefix, or a plugin's own.
	Reason string
	// Message says for people what happened and what to do next; its wording may change.
	Message string
	// Metadata has every varying word of the message, under stable keys.
	Metadata map[string]string
	// RetryAfter is the wait that the other side asks for; zero if it asks for none.
	RetryAfter time.Duration
	// Retryable says of a step's failure whether another attempt can help.
	Retryable bool
	// StepPath says where a step's failure arose.
	StepPath string
	// Violations are the mistakes in what was asked, by field.
	Violations map[string]string
	// Causes are the failures that this one sums up, the first in time first.
	Causes []*Fault
}

// Error is the message, with the reason before it.
func (f *Fault) Error() string {
	if f.Reason == "" {
		return f.Message
	}
	return fmt.Sprintf("%s: %s", f.Reason, f.Message)
}

// Is reports whether the target is a Fault of the same reason, so that errors.Is(err, forgemesh.Reason("...")) works.
func (f *Fault) Is(target error) bool {
	var other *Fault
	return errors.As(target, &other) && other.Reason == f.Reason && other.Message == ""
}

// Unwrap gives the causes.
func (f *Fault) Unwrap() []error {
	causes := make([]error, len(f.Causes))
	for at, cause := range f.Causes {
		causes[at] = cause
	}
	return causes
}

// GRPCStatus is the fault as a status, so that a server may return it as it is.
func (f *Fault) GRPCStatus() *status.Status {
	plain := status.New(f.Code, f.Message)
	info := &errdetails.ErrorInfo{Reason: f.Reason, Domain: Domain, Metadata: f.Metadata}
	detailed, err := plain.WithDetails(info)
	if err != nil {
		return plain
	}
	if f.RetryAfter > 0 {
		if more, err := detailed.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)}); err == nil {
			return more
		}
	}
	return detailed
}

// Reason is a fault to compare with: errors.Is(err, forgemesh.Reason("EXECUTION_NOT_FOUND")).
func Reason(reason string) error { return &Fault{Reason: reason} }

// ReasonOf is the reason of a fault anywhere in the error; empty if there is none.
func ReasonOf(err error) string {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Reason
	}
	return ""
}

// FaultOf reads what an RPC returned. What is no status, such as an error of the caller's own context, stays as it is.
func FaultOf(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var fault *Fault
	if errors.As(err, &fault) {
		return err
	}
	told, ok := status.FromError(err)
	if !ok {
		return err
	}
	fault = &Fault{Code: told.Code(), Message: told.Message()}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fault.Reason, fault.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			fault.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			fault.Violations = make(map[string]string, len(detail.GetFieldViolations()))
			for _, violation := range detail.GetFieldViolations() {
				fault.Violations[violation.GetField()] = violation.GetDescription()
			}
		}
	}
	return fault
}

// FailureOf reads a failure that is part of an answer.
func FailureOf(failure *errorsv1.Failure) *Fault {
	if failure == nil {
		return nil
	}
	fault := &Fault{
		Code:       codes.Code(failure.GetCode()), //nolint:gosec // the mesh sends canonical codes
		Reason:     failure.GetReason(),
		Message:    failure.GetMessage(),
		Metadata:   failure.GetMetadata(),
		RetryAfter: time.Duration(failure.GetRetryAfterMillis()) * time.Millisecond,
		Retryable:  failure.GetRetryable(),
		StepPath:   failure.GetStepPath(),
	}
	for _, cause := range failure.GetCauses() {
		fault.Causes = append(fault.Causes, FailureOf(cause))
	}
	return fault
}
