package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/reflection"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
	registryv1 "forgemesh.dev/go/forgemesh/api/registry/v1"
	supervisorv1 "forgemesh.dev/go/forgemesh/api/supervisor/v1"
)

const (
	exitCannotStart = 1
	exitOrphaned    = 3
	orphanLimit     = 1750 * time.Millisecond
	// lastResponses is what the answers of finished calls have to leave the process.
	lastResponses = 500 * time.Millisecond
	// leastPing is the shortest time between two pings of a caller; the orchestrator pings every five seconds.
	leastPing    = 4 * time.Second
	messageLimit = 4 << 20
)

// servingNames are those under which health is asked for, beside liveness and startup.
var servingNames = []string{"", "readiness", "forgemesh.api.plugin.v1.PluginService"}

// Main serves the plugin as the environment says, until the process is told to end (SIGTERM, SIGINT) or its supervisor is
// gone. What keeps it from serving is written to standard error, and the process ends with 1.
func Main(plugin *Plugin) {
	settings, err := FromEnvironment()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		endWithoutParent(settings.Reattach)
		err = Serve(ctx, plugin, settings)
		stop()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(exitCannotStart)
	}
}

// Serve serves the plugin until the context ends, lets what runs end within the grace, and returns nil then. Otherwise it
// returns what keeps the plugin from serving.
func Serve(ctx context.Context, plugin *Plugin, settings Settings) error {
	manifest, err := plugin.Manifest()
	settings = settings.withDefaults(plugin.manifest.GetPluginId())
	if checked := settings.check(); checked != nil {
		return checked
	}
	if settings.Supervisor == "" {
		if err != nil {
			return err
		}
		return serveAlone(ctx, plugin, settings)
	}
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	attached := attach(background, settings, manifest)
	phase := supervisorv1.HostPhase_HOST_PHASE_HANDSHAKE
	if err == nil {
		phase, err = serveAttached(ctx, plugin, settings, attached)
	}
	if err != nil {
		attached.fail(phase, err)
	}
	attached.close(time.Second)
	return err
}

func serveAlone(ctx context.Context, plugin *Plugin, settings Settings) error {
	var config []byte
	if settings.Config != "" {
		var err error
		if config, err = os.ReadFile(settings.Config); err != nil {
			return fmt.Errorf("FORGEMESH_HOST_CONFIG: %w", err)
		}
	}
	run, _, err := begin(ctx, plugin, config, 0, nil)
	if err != nil {
		return err
	}
	_, err = serve(ctx, run, settings, nil)
	return err
}

func serveAttached(ctx context.Context, plugin *Plugin, settings Settings, attached *attachment) (supervisorv1.HostPhase, error) {
	initialize, err := attached.initialized(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return 0, nil // it was stopped while it waited
		}
		return supervisorv1.HostPhase_HOST_PHASE_HANDSHAKE, err
	}
	run, phase, err := begin(ctx, plugin, []byte(initialize.GetConfig()), initialize.GetConfigRevision(), initialize.GetState())
	if err != nil {
		return phase, err
	}
	return serve(ctx, run, settings, attached)
}

// serve opens the ports, registers, and goes on until the context ends or the host is not wanted.
func serve(ctx context.Context, run *configured, settings Settings, attached *attachment) (supervisorv1.HostPhase, error) {
	plugin := run.plugin
	identity := newIdentity(settings.InstanceID)
	spans, err := newSpans(ctx, plugin, identity, settings.Traces)
	if err != nil {
		return supervisorv1.HostPhase_HOST_PHASE_INIT, err
	}
	host := newHost(plugin, identity, settings.Queue, spans, settings.Log)
	load := newLoadMeter(host)
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ports, err := open(settings, &service{
		host: host, sessions: newSessions(host.capacity()), load: load,
		endIsTold: settings.Supervisor != "" && settings.Registry != "",
	})
	if err != nil {
		return supervisorv1.HostPhase_HOST_PHASE_INIT, err
	}
	defer ports.close()
	go load.run(background)

	ready := func() *supervisorv1.HostReady {
		return &supervisorv1.HostReady{
			Address: reachable(ports.address, settings), HealthAddress: reachable(ports.healthAddress, settings),
			Incarnation: identity.incarnation(), ConfigRevision: run.currentRevision(),
		}
	}
	registered, phase, err := register(ctx, background, host, ports, load, settings, func() {
		if attached != nil {
			attached.serving(ready())
		}
	})
	if err != nil {
		return phase, err
	}
	if ctx.Err() == nil {
		ports.ready(true)
		settings.Log.Info("serving", "address", ports.address, "instance_id", identity.instanceID, "incarnation", identity.incarnation())
	}
	var gone chan error
	if attached != nil && ctx.Err() == nil {
		gone = attached.gone
		attached.serving(ready())
		go attached.tellLoad(background, load)
		go attached.obey(background, run)
	}
	phase, err = supervisorv1.HostPhase_HOST_PHASE_SERVING, nil
	grace := settings.Grace
	select {
	case <-ctx.Done():
	case orphaned := <-gone:
		settings.Log.Warn("this host ends", "error", orphaned)
		grace = lastResponses
		time.AfterFunc(orphanLimit, func() { os.Exit(exitOrphaned) })
	case <-hopeless(registered):
		err = fmt.Errorf("cannot register %s at %s: %w", identity.instanceID, settings.Registry, registered.trouble())
	}
	leave(host, ports, registered, grace)
	if plugin.stop != nil {
		if stopped := guarded(func() error { return plugin.stop(context.WithoutCancel(ctx)) }); stopped != nil {
			settings.Log.Error("the plugin did not stop as it should", "error", stopped)
		}
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	spans.close(closing)
	return phase, err
}

// register waits for the first registration, or for what keeps the host from it. Without a registry there is none.
func register(
	ctx, background context.Context, host *host, ports *ports, load *loadMeter, settings Settings, onIncarnation func(),
) (*registration, supervisorv1.HostPhase, error) {
	if settings.Registry == "" {
		return nil, 0, nil
	}
	connection, err := grpc.NewClient(settings.Registry, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, supervisorv1.HostPhase_HOST_PHASE_HEALTH, err
	}
	context.AfterFunc(background, func() { _ = connection.Close() })
	registered := newRegistration(
		registryv1.NewRegistryServiceClient(connection), host, instanceOf(host, ports, settings), load, settings, onIncarnation,
	)
	go registered.run(background)
	select {
	case <-registered.first:
	case <-ctx.Done():
	case <-registered.hopeless:
		return nil, supervisorv1.HostPhase_HOST_PHASE_HEALTH,
			fmt.Errorf("cannot register %s at %s: %w", host.identity.instanceID, settings.Registry, registered.trouble())
	}
	return registered, 0, nil
}

func hopeless(registered *registration) chan struct{} {
	if registered == nil {
		return nil
	}
	return registered.hopeless
}

// leave says that nothing new is to come, then lets what runs end.
func leave(host *host, ports *ports, registered *registration, grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	ports.ready(false)
	if registered != nil {
		registered.leave(ctx, true)
	}
	ports.service.sessions.drain()
	if host.drain(ctx) != nil {
		host.log.Warn("calls still run after the grace, cutting them off", "grace", grace)
	}
	if registered != nil {
		registered.leave(context.Background(), false)
	}
}

func instanceOf(host *host, ports *ports, settings Settings) *registryv1.Instance {
	name, _ := os.Hostname()
	labels := map[string]string{"pid": strconv.Itoa(os.Getpid()), "host": name, "sdk": sdk}
	if settings.Name != "" {
		labels["name"] = settings.Name
	}
	if settings.Tenure != "" {
		labels["tenure"] = settings.Tenure
	}
	return &registryv1.Instance{
		InstanceId:    host.identity.instanceID,
		PluginId:      host.pluginID(),
		PluginVersion: host.plugin.manifest.GetVersion(),
		Address:       reachable(ports.address, settings),
		HealthAddress: reachable(ports.healthAddress, settings),
		MaxInFlight:   uint32(host.capacity()), //nolint:gosec // a number of calls
		Weight:        host.plugin.manifest.GetWeight(),
		Labels:        labels,
		Session:       true,
		State:         registryv1.InstanceState_INSTANCE_STATE_ACTIVE,
	}
}

func reachable(address string, settings Settings) string {
	if settings.Advertise == "" {
		return address
	}
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort(settings.Advertise, port)
}

// ports are the two that a host listens on: one for calls, one for health and load alone.
type ports struct {
	service                *service
	health                 *health.Server
	main, beside           *grpc.Server
	address, healthAddress string
}

func open(settings Settings, service *service) (*ports, error) {
	calls, err := net.Listen("tcp", settings.Listen)
	if err != nil {
		return nil, err
	}
	beside, err := net.Listen("tcp", settings.HealthListen)
	if err != nil {
		_ = calls.Close()
		return nil, err
	}
	made := &ports{
		service: service, health: health.NewServer(),
		address: calls.Addr().String(), healthAddress: beside.Addr().String(),
	}
	enforced := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing, PermitWithoutStream: true})
	made.main = grpc.NewServer(
		enforced, grpc.MaxRecvMsgSize(messageLimit), grpc.MaxSendMsgSize(messageLimit), orca.CallMetricsServerOption(service.load.recorder),
		grpc.UnaryInterceptor(faultsAsStatus), grpc.StreamInterceptor(streamFaultsAsStatus),
	)
	made.beside = grpc.NewServer(enforced)
	pluginv1.RegisterPluginServiceServer(made.main, service)
	reflection.Register(made.main)
	for _, server := range []*grpc.Server{made.main, made.beside} {
		healthv1.RegisterHealthServer(server, made.health)
		if err := orca.Register(server, orca.ServiceOptions{
			ServerMetricsProvider: service.load.recorder, MinReportingInterval: time.Second,
		}); err != nil {
			return nil, err
		}
	}
	made.health.SetServingStatus("liveness", healthv1.HealthCheckResponse_SERVING)
	made.health.SetServingStatus("startup", healthv1.HealthCheckResponse_NOT_SERVING)
	made.ready(false)
	go func() { _ = made.main.Serve(calls) }()
	go func() { _ = made.beside.Serve(beside) }()
	return made, nil
}

// ready says whether calls are to come here.
func (p *ports) ready(yes bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if yes {
		status = healthv1.HealthCheckResponse_SERVING
	}
	for _, name := range servingNames {
		p.health.SetServingStatus(name, status)
	}
	if yes { // and once for all
		p.health.SetServingStatus("startup", status)
	}
}

// close lets the last answers leave.
func (p *ports) close() {
	stopped := make(chan struct{})
	go func() { p.main.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(lastResponses):
		p.main.Stop()
	}
	p.beside.Stop()
}

func faultsAsStatus(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	response, err := handle(ctx, request)
	return response, asStatus(err)
}

func streamFaultsAsStatus(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return asStatus(handle(server, stream))
}

func asStatus(err error) error {
	var fault *forgemesh.Fault
	if errors.As(err, &fault) {
		return fault.GRPCStatus().Err()
	}
	return err
}

// endWithoutParent watches the pipe of the process that started this one: when it breaks, this process ends soon, come
// what may.
func endWithoutParent(reattach bool) {
	given, ok := os.LookupEnv("FORGEMESH_PARENT_FD")
	if !ok {
		return
	}
	_ = os.Unsetenv("FORGEMESH_PARENT_FD")
	descriptor, err := strconv.Atoi(given)
	if err != nil || descriptor < 3 {
		return
	}
	pipe := os.NewFile(uintptr(descriptor), "parent")
	if reattach { // another parent is going to be found
		_ = pipe.Close()
		return
	}
	syscall.CloseOnExec(descriptor)
	go func() {
		_, _ = pipe.Read(make([]byte, 1))
		process, err := os.FindProcess(os.Getpid())
		if err == nil {
			_ = process.Signal(syscall.SIGTERM)
		}
		time.Sleep(orphanLimit)
		os.Exit(exitOrphaned)
	}()
}
