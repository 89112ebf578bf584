package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	forgemesh "forgemesh.dev/go"
	errorsv1 "forgemesh.dev/go/forgemesh/api/errors/v1"
)

const (
	longestText  = 1024
	mostFacts    = 256 * 1024
	mostOutput   = 4<<20 - 64*1024
	longestRetry = 366 * 24 * time.Hour
)

// FailOption says more about a failure.
type FailOption func(*forgemesh.Fault)

// WithCode is the gRPC code of the failure; FailedPrecondition without it.
func WithCode(code codes.Code) FailOption { return func(f *forgemesh.Fault) { f.Code = code } }

// Retryable says that another attempt can help.
func Retryable() FailOption { return func(f *forgemesh.Fault) { f.Retryable = true } }

// RetryAfter says that another attempt can help, and not before so long.
func RetryAfter(pause time.Duration) FailOption {
	return func(f *forgemesh.Fault) { f.Retryable, f.RetryAfter = true, pause }
}

// With is a fact that the message holds too, for programs.
func With(key, value string) FailOption {
	return func(f *forgemesh.Fault) {
		if f.Metadata == nil {
			f.Metadata = map[string]string{}
		}
		f.Metadata[key] = value
	}
}

// Fail is what an operation returns when it has failed: a reason in capitals that programs match, a message for people.
func Fail(reason, message string, options ...FailOption) error {
	fault := &forgemesh.Fault{Code: codes.FailedPrecondition, Reason: reason, Message: message}
	for _, option := range options {
		option(fault)
	}
	if fault.Code == codes.OK {
		fault.Code = codes.Unknown
	}
	return fault
}

// failureOf is an operation's error as data.
func (h *host) failureOf(call *running, err error) *errorsv1.Failure {
	name, stepPath := call.operation.described.GetName(), call.invocation.GetStepPath()
	var fault *forgemesh.Fault
	var unfit *misfit
	switch {
	case errors.As(err, &unfit) && unfit.output:
		return message(outputInvalid(h.pluginID(), name, unfit), stepPath)
	case errors.As(err, &unfit):
		return message(inputInvalid(h.pluginID(), name, unfit), stepPath)
	case errors.As(err, &fault):
		return message(fault, stepPath)
	case errors.Is(err, context.DeadlineExceeded) && time.Since(call.arrived) >= call.within:
		return message(timedOut(stepPath, call.within), stepPath)
	case errors.Is(err, context.Canceled) && call.context.Err() != nil:
		return message(cancelled(stepPath), stepPath)
	default:
		return message(pluginException(h.pluginID(), name, err), stepPath)
	}
}

// message is a fault as it travels, within the bounds that the mesh sets.
func message(fault *forgemesh.Fault, stepPath string) *errorsv1.Failure {
	pause := min(max(0, fault.RetryAfter), longestRetry)
	return &errorsv1.Failure{
		Code:             int32(fault.Code), //nolint:gosec // codes are small
		Reason:           cut(fault.Reason),
		Message:          cut(fault.Message),
		Metadata:         facts(fault.Metadata),
		Retryable:        fault.Retryable,
		StepPath:         stepPath,
		RetryAfterMillis: pause.Milliseconds(),
	}
}

// facts are as many as a failure may say; what had to be left out is said instead.
func facts(metadata map[string]string) map[string]string {
	kept, size := make(map[string]string, len(metadata)), 0
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		name, value := cut(key), cut(metadata[key])
		size += len(name) + len(value) + 16
		if size > mostFacts {
			kept["left_out"] = fmt.Sprintf("%d of %d facts, beyond %d bytes", len(metadata)-len(kept), len(metadata), mostFacts)
			break
		}
		kept[name] = value
	}
	return kept
}

// cut leaves at most a kibibyte, and nothing that is not UTF-8.
func cut(text string) string {
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	if len(text) <= longestText {
		return text
	}
	end := longestText - 3
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

func fact(pairs ...string) map[string]string {
	facts := make(map[string]string, len(pairs)/2)
	for at := 0; at < len(pairs); at += 2 {
		facts[pairs[at]] = pairs[at+1]
	}
	return facts
}

func inputInvalid(plugin, operation string, cause error) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.InvalidArgument, Reason: "INPUT_INVALID",
		Message:  fmt.Sprintf("the input does not fit %s/%s: %v", plugin, operation, cause),
		Metadata: fact("plugin_id", plugin, "operation", operation, "cause", cause.Error()),
	}
}

func outputInvalid(plugin, operation string, cause error) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.Internal, Reason: "OUTPUT_INVALID",
		Message:  fmt.Sprintf("what %s/%s returned cannot be sent: %v; mend the plugin", plugin, operation, cause),
		Metadata: fact("plugin_id", plugin, "operation", operation, "cause", cause.Error()),
	}
}

func pluginException(plugin, operation string, err error) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.Unknown, Reason: "PLUGIN_EXCEPTION", Retryable: true,
		Message:  fmt.Sprintf("%s/%s returned an error: %v; the instance's log has it", plugin, operation, err),
		Metadata: fact("plugin_id", plugin, "operation", operation, "error", err.Error()),
	}
}

func tooLarge(what string, size, limit int) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.ResourceExhausted, Reason: "PAYLOAD_TOO_LARGE",
		Message:  fmt.Sprintf("%s has %d bytes, the mesh carries %d; pass a reference to the data instead", what, size, limit),
		Metadata: fact("what", what, "size", fmt.Sprint(size), "limit", fmt.Sprint(limit)),
	}
}

func cancelled(stepPath string) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.Canceled, Reason: "CANCELLED",
		Message:  fmt.Sprintf("%q was cancelled by the end of what is around it", stepPath),
		Metadata: fact("step_path", stepPath),
	}
}

func timedOut(stepPath string, length time.Duration) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.DeadlineExceeded, Reason: "START_TO_CLOSE_TIMEOUT", Retryable: true,
		Message:  fmt.Sprintf("an attempt at %q took longer than its start_to_close of %g s", stepPath, length.Seconds()),
		Metadata: fact("step_path", stepPath, "seconds", fmt.Sprintf("%g", length.Seconds())),
	}
}

func operationNotFound(plugin, operation, known string) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.Unimplemented, Reason: "OPERATION_NOT_FOUND",
		Message:  fmt.Sprintf("plugin %q has no operation %q; it has: %s", plugin, operation, known),
		Metadata: fact("plugin_id", plugin, "operation", operation, "known", known),
	}
}

func instanceFull(instance string, running int) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.ResourceExhausted, Reason: "INSTANCE_FULL", Retryable: true, RetryAfter: 100 * time.Millisecond,
		Message:  fmt.Sprintf("instance %q runs %d calls and its queue is full; try another one", instance, running),
		Metadata: fact("instance_id", instance, "running", fmt.Sprint(running)),
	}
}

func queueTooLong(instance string, wait, left time.Duration) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.ResourceExhausted, Reason: "QUEUE_TOO_LONG", Retryable: true, RetryAfter: wait,
		Message: fmt.Sprintf("instance %q would come to the call in about %.3g s, its caller waits %.3g s; try another one, or later",
			instance, wait.Seconds(), left.Seconds()),
		Metadata: fact("instance_id", instance, "wait", fmt.Sprintf("%.3g", wait.Seconds()), "left", fmt.Sprintf("%.3g", left.Seconds())),
	}
}

func instanceDraining(instance string) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.Unavailable, Reason: "INSTANCE_DRAINING", Retryable: true,
		Message:  fmt.Sprintf("instance %q drains and takes no new calls; try another one", instance),
		Metadata: fact("instance_id", instance),
	}
}

func wrongIncarnation(instance string, wanted, current uint64) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.FailedPrecondition, Reason: "WRONG_INCARNATION", Retryable: true,
		Message:  fmt.Sprintf("instance %q is at incarnation %d, the call was meant for %d", instance, current, wanted),
		Metadata: fact("instance_id", instance, "wanted", fmt.Sprint(wanted), "current", fmt.Sprint(current)),
	}
}

func permitRefused(instance, permit, why string) *forgemesh.Fault {
	return &forgemesh.Fault{
		Code: codes.FailedPrecondition, Reason: "PERMIT_REFUSED", Retryable: true,
		Message:  fmt.Sprintf("instance %q makes no trial call for permit %q: %s; pick an instance anew", instance, permit, why),
		Metadata: fact("instance_id", instance, "permit_id", permit, "why", why),
	}
}

func protocolUnsupported(low, high uint32) *forgemesh.Fault {
	spoken, asked := fmt.Sprintf("%d..%d", protocol, protocol), fmt.Sprintf("%d..%d", low, high)
	return &forgemesh.Fault{
		Code: codes.FailedPrecondition, Reason: "PROTOCOL_UNSUPPORTED",
		Message:  fmt.Sprintf("this host speaks session protocols %s, the caller %s; bring the older side up to date", spoken, asked),
		Metadata: fact("host", spoken, "caller", asked),
	}
}
