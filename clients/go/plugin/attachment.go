package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
	supervisorv1 "forgemesh.dev/go/forgemesh/api/supervisor/v1"
)

const (
	attachProtocol  = 1
	welcomeDeadline = 10 * time.Second
	loadPeriod      = time.Second
	lineBackoff     = time.Second
	longestOutbox   = 64
	changeTimeout   = 30 * time.Second
	sdk             = "forgemesh-go/0.1.0"
)

// attachment is the host's place at its supervisor: introduced, initialised, ready, and from then on at its service. The
// stream is opened again when it breaks.
type attachment struct {
	settings Settings
	manifest *pluginv1.Manifest
	log      *slog.Logger
	heard    chan *supervisorv1.AttachResponse
	// gone gets why the supervisor is gone for good.
	gone chan error

	mutex sync.Mutex
	// outbox is closed once no more is to be said on the stream that is open, and ended when that is over.
	outbox chan *supervisorv1.AttachRequest
	ended  chan struct{}
	closed bool
	ready  *supervisorv1.HostReady
}

func attach(ctx context.Context, settings Settings, manifest *pluginv1.Manifest) *attachment {
	a := &attachment{
		settings: settings,
		manifest: manifest,
		log:      settings.Log,
		heard:    make(chan *supervisorv1.AttachResponse, 16),
		gone:     make(chan error, 1),
	}
	go a.keep(ctx)
	return a
}

// initialized waits, for as long as it takes, until everything that the plugin needs serves.
func (a *attachment) initialized(ctx context.Context) (*supervisorv1.Initialize, error) {
	for {
		select {
		case said := <-a.heard:
			if welcome := said.GetWelcome(); welcome != nil && welcome.GetProtocol() != attachProtocol {
				return nil, fmt.Errorf("the supervisor at %s speaks protocol %d, this host %d", a.address(), welcome.GetProtocol(), attachProtocol)
			}
			if initialize := said.GetInitialize(); initialize != nil {
				return initialize, nil
			}
		case err := <-a.gone:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// serving says that the host serves: now, and each time the stream is opened again.
func (a *attachment) serving(ready *supervisorv1.HostReady) {
	a.mutex.Lock()
	a.ready = ready
	a.mutex.Unlock()
	a.say(&supervisorv1.AttachRequest{Kind: &supervisorv1.AttachRequest_Ready{Ready: ready}})
}

// fail says that the host cannot go on.
func (a *attachment) fail(phase supervisorv1.HostPhase, why error) {
	a.say(&supervisorv1.AttachRequest{Kind: &supervisorv1.AttachRequest_Failed{
		Failed: &supervisorv1.HostFailed{Phase: phase, Reason: cut(why.Error())},
	}})
}

// tellLoad says every second how busy the host is.
func (a *attachment) tellLoad(ctx context.Context, load *loadMeter) {
	for each := time.NewTicker(loadPeriod); ; {
		select {
		case <-ctx.Done():
			each.Stop()
			return
		case <-each.C:
			a.say(&supervisorv1.AttachRequest{Kind: &supervisorv1.AttachRequest_Load{Load: load.report()}})
		}
	}
}

// obey does what the supervisor asks of the running plugin, until the context ends.
func (a *attachment) obey(ctx context.Context, run *configured) {
	for {
		select {
		case <-ctx.Done():
			return
		case said := <-a.heard:
			switch {
			case said.GetConfigure() != nil:
				result := run.configure(ctx, said.GetConfigure())
				a.say(&supervisorv1.AttachRequest{Kind: &supervisorv1.AttachRequest_Configured{Configured: result}})
			case said.GetSaveState() != nil:
				state := run.save(ctx, said.GetSaveState())
				a.say(&supervisorv1.AttachRequest{Kind: &supervisorv1.AttachRequest_State{State: state}})
			}
		}
	}
}

// say sends something soon; what is said while the stream is broken, or by far too much, is lost.
func (a *attachment) say(request *supervisorv1.AttachRequest) {
	a.mutex.Lock() // also while it is sent: nobody closes the outbox meanwhile
	defer a.mutex.Unlock()
	if a.outbox == nil {
		return
	}
	select {
	case a.outbox <- request:
	default:
	}
}

// close lets what was said leave, for so long at most, and hangs up.
func (a *attachment) close(within time.Duration) {
	a.mutex.Lock()
	outbox, ended := a.outbox, a.ended
	a.outbox, a.closed = nil, true
	a.mutex.Unlock()
	if outbox == nil {
		return
	}
	close(outbox)
	select {
	case <-ended:
	case <-time.After(within):
	}
}

func (a *attachment) keep(ctx context.Context) {
	patience := time.Duration(1<<63 - 1)
	if a.settings.Reattach {
		patience = a.settings.ReattachFor
	}
	heardAt, welcomed := time.Now(), false
	for failures := 0; ctx.Err() == nil; failures++ {
		heard, err := a.converse(ctx)
		a.mutex.Lock()
		closed := a.closed
		a.mutex.Unlock()
		if closed || ctx.Err() != nil {
			return
		}
		if heard {
			heardAt, welcomed, failures = time.Now(), true, 0
		}
		bound := welcomeDeadline
		if welcomed {
			bound = patience
		}
		if isFinal(err) || time.Since(heardAt) > bound {
			a.gone <- fmt.Errorf("the supervisor at %s is gone: %w", a.address(), err)
			return
		}
		if failures == 0 {
			a.log.Warn("the stream to the supervisor broke, opening it again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(min(lineBackoff, firstBackoff<<min(failures, 10)))):
		}
	}
}

// isFinal says whether the supervisor does not want this process, and asking again changes nothing.
func isFinal(err error) bool {
	var fault *forgemesh.Fault
	if !errors.As(err, &fault) {
		return false
	}
	switch fault.Code {
	case codes.PermissionDenied, codes.FailedPrecondition, codes.Unimplemented, codes.InvalidArgument:
		return true
	default:
		return false
	}
}

// converse keeps one stream until it breaks, and says whether anything was heard on it.
func (a *attachment) converse(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connection, err := grpc.NewClient(a.address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return false, err
	}
	defer connection.Close()
	stream, err := supervisorv1.NewSupervisorServiceClient(connection).Attach(ctx)
	if err != nil {
		return false, forgemesh.FaultOf(err)
	}
	impatience := time.AfterFunc(welcomeDeadline, cancel)
	defer impatience.Stop()
	outbox := make(chan *supervisorv1.AttachRequest, longestOutbox)
	outbox <- &supervisorv1.AttachRequest{Kind: &supervisorv1.AttachRequest_Hello{Hello: a.hello()}}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case request, open := <-outbox:
				if !open {
					_ = stream.CloseSend() // the supervisor ends the stream when it has heard all of it
					return
				}
				if stream.Send(request) != nil {
					return
				}
			}
		}
	}()
	ended := make(chan struct{})
	defer close(ended)
	a.mutex.Lock()
	a.outbox, a.ended = outbox, ended
	a.mutex.Unlock()
	defer func() {
		a.mutex.Lock()
		a.outbox = nil
		a.mutex.Unlock()
	}()
	for {
		said, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it ended the stream")
			}
			return heard, forgemesh.FaultOf(err)
		}
		impatience.Stop()
		heard = true
		if said.GetSuspects() != nil { // this host keeps no record of running calls, and has none to run alone
			continue
		}
		select {
		case a.heard <- said:
		case <-ctx.Done():
			return heard, ctx.Err()
		}
	}
}

func (a *attachment) hello() *supervisorv1.AttachHello {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return &supervisorv1.AttachHello{
		Token:       a.settings.Token,
		InstanceId:  a.settings.InstanceID,
		Pid:         int64(os.Getpid()),
		ProtocolMin: attachProtocol,
		ProtocolMax: attachProtocol,
		Sdk:         sdk,
		Manifest:    a.manifest,
		Ready:       a.ready,
	}
}

// address is that of the supervisor that is there now: one that was started anew may listen elsewhere.
func (a *attachment) address() string {
	if a.settings.SupervisorFile != "" {
		if said, err := os.ReadFile(a.settings.SupervisorFile); err == nil {
			return strings.TrimSpace(string(said))
		}
	}
	return a.settings.Supervisor
}
