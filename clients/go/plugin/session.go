package plugin

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

const (
	// protocol is the session protocol, the only one there is.
	protocol      = 1
	helloDeadline = 10 * time.Second
	frameBytes    = 1 << 20
	// overhead are bytes of a result, or of a word of progress, besides what is of any length.
	overhead     = 64
	receiptBytes = 11
)

type stream = grpc.BidiStreamingServer[pluginv1.SessionRequest, pluginv1.SessionResponse]

// sessions are the open sessions of one host, which share its credits.
type sessions struct {
	mutex    sync.Mutex
	pool     creditPool
	open     map[*session]struct{}
	draining bool
}

func newSessions(capacity int) *sessions {
	return &sessions{pool: creditPool(capacity), open: map[*session]struct{}{}}
}

func (s *sessions) drain() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.draining = true
	s.wakeAll()
}

func (s *sessions) wakeAll() {
	for one := range s.open {
		one.wake()
	}
}

func (s *sessions) leave(one *session) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.open, one)
	s.wakeAll()
}

// renew grants new credits in place of the calls that have ended since, and says whether the host drains.
func (s *sessions) renew(one *session) (credits int, draining bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.draining {
		return 0, true
	}
	others := 0
	for other := range s.open {
		if other != one {
			others += other.held
		}
	}
	granted := s.pool.grant(one.held, one.finished, others, len(s.open))
	one.held += granted - one.finished
	one.finished = 0
	return granted, false
}

// session reads and writes one stream. Whatever waits when the stream can be written leaves as one message; the reader
// never waits for the writer.
type session struct {
	host     *host
	sessions *sessions
	woken    chan struct{}

	// held counts the caller's credits and its calls in the host, finished those that have ended since the last grant; both
	// belong to the lock of all sessions.
	held, finished int

	mutex      sync.Mutex
	calls      map[uint64]*running
	accepted   map[uint64]struct{}
	results    []*pluginv1.InvocationResult
	progress   map[uint64]*pluginv1.Progress
	halfClosed bool
	saidDrain  bool
}

// Session serves one stream until its caller is done or the host has drained; its loss takes all its calls back.
func (s *service) Session(stream stream) error {
	first, err := firstOf(stream)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if err := s.host.identity.refuseOthers(hello.GetIncarnation()); err != nil {
		return err
	}
	if hello.GetProtocolMin() > protocol || hello.GetProtocolMax() < protocol {
		return protocolUnsupported(hello.GetProtocolMin(), hello.GetProtocolMax())
	}
	one := &session{
		host:     s.host,
		sessions: s.sessions,
		woken:    make(chan struct{}, 1),
		calls:    map[uint64]*running{},
		accepted: map[uint64]struct{}{},
		progress: map[uint64]*pluginv1.Progress{},
	}
	s.sessions.mutex.Lock()
	s.sessions.open[one] = struct{}{}
	s.sessions.mutex.Unlock()
	defer s.sessions.leave(one)
	credits, _ := s.sessions.renew(one)
	welcome := &pluginv1.SessionResponse{
		Hello: &pluginv1.ServerHello{
			Protocol:    protocol,
			InstanceId:  s.host.identity.instanceID,
			Incarnation: s.host.identity.incarnation(),
			PluginId:    s.host.pluginID(),
			TellsBegun:  true,
			EndIsTold:   s.endIsTold,
		},
		Credits: uint32(credits), //nolint:gosec // at most the host's capacity
	}
	if err := stream.Send(welcome); err != nil {
		return err
	}
	return one.serve(stream, first)
}

// firstOf waits for the hello, and not for ever.
func firstOf(stream stream) (*pluginv1.SessionRequest, error) {
	type heard struct {
		request *pluginv1.SessionRequest
		err     error
	}
	said := make(chan heard, 1)
	go func() {
		request, err := stream.Recv()
		said <- heard{request, err}
	}()
	select {
	case first := <-said:
		if first.err != nil || first.request.GetHello() == nil {
			return nil, invalidRequest("hello", "is the first message of a session")
		}
		return first.request, nil
	case <-time.After(helloDeadline):
		return nil, invalidRequest("hello", fmt.Sprintf("has not come within %s", helloDeadline))
	}
}

func (s *session) serve(stream stream, first *pluginv1.SessionRequest) error {
	defer s.takeBack()
	broken := make(chan error, 1)
	go func() { broken <- s.read(stream, first) }()
	for {
		response := s.next()
		switch {
		case response != nil:
			if err := stream.Send(response); err != nil {
				return err
			}
		case s.isOver():
			return nil
		default:
			select {
			case <-s.woken:
			case err := <-broken:
				if err != nil {
					return err
				}
				broken = nil // it is half closed: what runs is still answered
				s.wake()
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
	}
}

// read returns nil once the caller has half closed.
func (s *session) read(stream stream, request *pluginv1.SessionRequest) error {
	var newest uint64
	for first := true; ; first = false {
		if !first && request.GetHello() != nil {
			return invalidRequest("hello", "is the first message of a session, and only that")
		}
		for _, invocation := range request.GetInvocations() {
			if invocation.GetCallId() <= newest {
				return invalidRequest("invocations.call_id", fmt.Sprintf("%d is not above %d", invocation.GetCallId(), newest))
			}
			newest = invocation.GetCallId()
			s.invoke(stream, invocation)
		}
		for _, cancel := range request.GetCancels() {
			s.mutex.Lock()
			call := s.calls[cancel.GetCallId()]
			s.mutex.Unlock()
			if call != nil {
				s.host.cancel(call)
			}
		}
		var err error
		if request, err = stream.Recv(); errors.Is(err, io.EOF) {
			s.mutex.Lock()
			s.halfClosed = true
			s.mutex.Unlock()
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *session) invoke(stream stream, invocation *pluginv1.Invocation) {
	id := invocation.GetCallId()
	s.mutex.Lock()
	s.calls[id] = nil // so that a call that is answered at once is known
	open := len(s.calls)
	s.mutex.Unlock()
	s.sessions.mutex.Lock()
	credited := open+s.finished <= s.held
	s.sessions.mutex.Unlock()
	if !credited {
		s.refuse(invocation, instanceFull(s.host.identity.instanceID, open-1), false)
		return
	}
	call, err := s.host.take(stream.Context(), invocation, s, true)
	if err != nil {
		var fault *forgemesh.Fault
		if !errors.As(err, &fault) {
			fault = &forgemesh.Fault{Code: codes.Internal, Reason: "INTERNAL", Message: err.Error()}
		}
		s.refuse(invocation, fault, true)
		return
	}
	s.mutex.Lock()
	if _, open := s.calls[id]; open {
		s.calls[id] = call
	}
	s.mutex.Unlock()
}

// refuse answers a call that is not taken on. The credit that it came with comes back, unless it had none.
func (s *session) refuse(invocation *pluginv1.Invocation, fault *forgemesh.Fault, credited bool) {
	if credited {
		s.sessions.mutex.Lock()
		s.finished++
		s.sessions.mutex.Unlock()
	}
	s.mutex.Lock()
	delete(s.calls, invocation.GetCallId())
	s.results = append(s.results, &pluginv1.InvocationResult{
		CallId:  invocation.GetCallId(),
		Attempt: invocation.GetAttempt(),
		Outcome: &pluginv1.InvocationResult_Failure{Failure: message(fault, invocation.GetStepPath())},
	})
	s.mutex.Unlock()
	s.wake()
}

func (s *session) begun(call *running) {
	s.mutex.Lock()
	s.accepted[call.invocation.GetCallId()] = struct{}{}
	s.mutex.Unlock()
	s.wake()
}

func (s *session) answered(call *running) {
	id := call.invocation.GetCallId()
	s.mutex.Lock()
	delete(s.accepted, id)
	if said := s.progress[id]; said != nil && (call.failure == nil || said.Details == nil) {
		delete(s.progress, id) // its result says it all
	}
	s.results = append(s.results, call.result())
	s.mutex.Unlock()
	s.wake()
}

func (s *session) released(call *running) {
	s.mutex.Lock()
	delete(s.calls, call.invocation.GetCallId())
	s.mutex.Unlock()
	s.sessions.mutex.Lock()
	s.finished++
	s.sessions.mutex.Unlock()
	s.wake()
}

func (s *session) progressed(call *running, fraction float64, note string, details *forgemesh.Payload) {
	id := call.invocation.GetCallId()
	said := &pluginv1.Progress{CallId: id, Fraction: fraction, Note: note}
	if details != nil {
		said.Details = details.Message()
	}
	s.mutex.Lock()
	if earlier := s.progress[id]; earlier != nil && said.Details == nil {
		said.Details = earlier.Details
	}
	s.progress[id] = said
	s.mutex.Unlock()
	s.wake()
}

func (s *session) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// next is the message that leaves now; nil if nothing waits. All that goes into it counts, and none has more than a
// mebibyte, unless a single result has: that goes without anything else.
func (s *session) next() *pluginv1.SessionResponse {
	credits, draining := s.sessions.renew(s)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	drains := draining && !s.saidDrain
	if credits == 0 && !drains && len(s.results) == 0 && len(s.accepted) == 0 && len(s.progress) == 0 {
		return nil
	}
	response := &pluginv1.SessionResponse{Credits: uint32(credits)} //nolint:gosec // at most the host's capacity
	if drains {
		s.saidDrain = true
		response.Drain = &pluginv1.Drain{Reason: "shutdown"}
	}
	room := frameBytes
	taken := 0
	for _, result := range s.results {
		size := proto.Size(result) + overhead
		last := s.progress[result.GetCallId()] // what a failed call said for its next attempt goes with its failure
		if last != nil {
			size += proto.Size(last) + overhead
		}
		if size > room && taken > 0 {
			break
		}
		room -= size
		taken++
		response.Results = append(response.Results, result)
		if last != nil {
			response.Progress = append(response.Progress, last)
			delete(s.progress, result.GetCallId())
		}
	}
	s.results = s.results[taken:]
	if len(s.results) == 0 {
		s.results = nil
	}
	for id := range s.accepted {
		if room < receiptBytes {
			break
		}
		room -= receiptBytes
		response.Accepted = append(response.Accepted, id)
		delete(s.accepted, id)
	}
	for id, said := range s.progress {
		size := proto.Size(said) + overhead
		if size > room {
			break
		}
		room -= size
		response.Progress = append(response.Progress, said)
		delete(s.progress, id)
	}
	if len(s.results)+len(s.accepted)+len(s.progress) > 0 {
		s.wake()
	}
	return response
}

func (s *session) isOver() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.calls) == 0 && len(s.results) == 0 && (s.halfClosed || s.saidDrain)
}

// takeBack cancels what still runs for a caller that is gone.
func (s *session) takeBack() {
	s.mutex.Lock()
	left := make([]*running, 0, len(s.calls))
	for _, call := range s.calls {
		if call != nil {
			left = append(left, call)
		}
	}
	s.mutex.Unlock()
	for _, call := range left {
		s.host.cancel(call)
	}
}

func invalidRequest(field, what string) error {
	return &forgemesh.Fault{
		Code: codes.InvalidArgument, Reason: "INVALID_REQUEST",
		Message: fmt.Sprintf("%s: %s", field, what), Metadata: fact("field", field),
	}
}
