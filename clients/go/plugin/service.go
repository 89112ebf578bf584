package plugin

import (
	"context"
	"errors"

	"google.golang.org/grpc/orca"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

// service is PluginService: it translates, and decides nothing.
type service struct {
	pluginv1.UnimplementedPluginServiceServer
	host      *host
	sessions  *sessions
	load      *loadMeter
	endIsTold bool
}

// Describe says who answers.
func (s *service) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{
		Manifest:    s.host.plugin.manifest,
		InstanceId:  s.host.identity.instanceID,
		Incarnation: s.host.identity.incarnation(),
	}, nil
}

// Invoke makes one call. Its failure is part of the answer; an error status says that it did not run.
func (s *service) Invoke(ctx context.Context, request *pluginv1.InvokeRequest) (*pluginv1.InvokeResponse, error) {
	invocation := request.GetInvocation()
	if invocation == nil {
		return nil, invalidRequest("invocation", "is missing")
	}
	answer := &lone{done: make(chan struct{})}
	call, err := s.host.take(ctx, invocation, answer, false)
	if err != nil {
		if errors.Is(err, forgemesh.Reason("OPERATION_NOT_FOUND")) {
			var fault *forgemesh.Fault
			errors.As(err, &fault)
			return &pluginv1.InvokeResponse{Result: &pluginv1.InvocationResult{
				CallId: invocation.GetCallId(), Attempt: invocation.GetAttempt(),
				Outcome: &pluginv1.InvocationResult_Failure{Failure: message(fault, invocation.GetStepPath())},
			}}, nil
		}
		return nil, err
	}
	select {
	case <-answer.done:
	case <-ctx.Done():
		s.host.cancel(call)
		<-answer.done
	}
	if recorder := orca.CallMetricsRecorderFromContext(ctx); recorder != nil {
		s.load.tellCaller(recorder)
	}
	return &pluginv1.InvokeResponse{Result: call.result()}, nil
}

// lone is the receiver of a unary call.
type lone struct{ done chan struct{} }

func (l *lone) begun(*running)                                           {}
func (l *lone) answered(*running)                                        { close(l.done) }
func (l *lone) released(*running)                                        {}
func (l *lone) progressed(*running, float64, string, *forgemesh.Payload) {}
