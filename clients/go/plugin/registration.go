package plugin

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
	registryv1 "forgemesh.dev/go/forgemesh/api/registry/v1"
)

const (
	registryDeadline = 5 * time.Second
	farewellDeadline = time.Second
	firstBackoff     = 100 * time.Millisecond
	longestBackoff   = 2 * time.Second
	reminder         = 30 * time.Second
)

// registration registers, renews every third of the lease and registers anew when the lease is lost. A registry that is
// away or refuses is asked again with back-off and jitter, and what it says goes to the log when it changes and every 30 s.
type registration struct {
	registry registryv1.RegistryServiceClient
	manifest *pluginv1.Manifest
	instance *registryv1.Instance
	identity *identity
	settings Settings
	load     *loadMeter
	log      *slog.Logger
	// onIncarnation is told of each registration.
	onIncarnation func()

	// first is closed by the first registration, hopeless by a refusal that repeating does not mend.
	first, hopeless chan struct{}

	mutex      sync.Mutex
	registered bool
	leaving    bool
	refusal    error
	reason     string
	said       time.Time
	holder     [2]uint64
}

func newRegistration(
	registry registryv1.RegistryServiceClient, host *host, instance *registryv1.Instance, load *loadMeter, settings Settings, onIncarnation func(),
) *registration {
	return &registration{
		registry:      registry,
		manifest:      host.plugin.manifest,
		instance:      instance,
		identity:      host.identity,
		settings:      settings,
		load:          load,
		log:           host.log,
		onIncarnation: onIncarnation,
		first:         make(chan struct{}),
		hopeless:      make(chan struct{}),
	}
}

// run keeps the instance registered until the context ends.
func (r *registration) run(ctx context.Context) {
	for failures := 0; ; {
		var err error
		r.mutex.Lock()
		registered, leaving := r.registered, r.leaving
		r.mutex.Unlock()
		switch {
		case registered:
			err = r.renew(ctx)
		case leaving:
			return
		default:
			err = r.register(ctx)
		}
		pause := r.settings.LeaseTTL / 3
		pause = pause*9/10 + rand.N(pause/5)
		if err == nil {
			failures = 0
		} else {
			failures++
			r.note(err)
			pause = rand.N(min(longestBackoff, firstBackoff<<min(failures-1, 10)))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (r *registration) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registryDeadline)
	defer cancel()
	_, err := r.registry.PublishManifest(ctx, &registryv1.PublishManifestRequest{
		Manifest: r.manifest, OwnerKey: r.settings.OwnerKey, InstanceId: r.identity.instanceID,
	})
	if err != nil {
		return forgemesh.FaultOf(err)
	}
	answer, err := r.registry.RegisterInstance(ctx, &registryv1.RegisterInstanceRequest{
		Instance: r.instance, OwnerToken: r.settings.OwnerToken, OwnerKey: r.settings.OwnerKey,
		Ttl: durationpb.New(r.settings.LeaseTTL),
	})
	if err != nil {
		return forgemesh.FaultOf(err)
	}
	incarnation := answer.GetInstance().GetIncarnation()
	r.identity.registered(incarnation)
	r.mutex.Lock()
	r.registered, r.reason = true, ""
	leaving := r.leaving
	r.mutex.Unlock()
	r.log.Info("registered", "instance_id", r.identity.instanceID, "incarnation", incarnation)
	select {
	case <-r.first:
		r.onIncarnation()
	default:
		close(r.first)
	}
	if leaving { // it was on its way when the host began to drain
		r.leave(ctx, true)
	}
	return nil
}

func (r *registration) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(registryDeadline, r.settings.LeaseTTL/3))
	defer cancel()
	_, err := r.registry.RenewLease(ctx, &registryv1.RenewLeaseRequest{
		InstanceId: r.identity.instanceID, Incarnation: r.identity.incarnation(), OwnerToken: r.settings.OwnerToken,
		Load: r.load.report(),
	})
	return forgemesh.FaultOf(err)
}

// leave deregisters, or asks that no new calls be routed here. If the registry is away, the lease runs out by itself.
func (r *registration) leave(ctx context.Context, drain bool) {
	r.mutex.Lock()
	r.leaving = true
	registered := r.registered
	r.mutex.Unlock()
	if !registered {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellDeadline)
	defer cancel()
	_, err := r.registry.DeregisterInstance(ctx, &registryv1.DeregisterInstanceRequest{
		InstanceId: r.identity.instanceID, Incarnation: r.identity.incarnation(), OwnerToken: r.settings.OwnerToken,
		Drain: drain,
	})
	if err != nil {
		r.log.Warn("the registry did not hear the farewell", "error", forgemesh.FaultOf(err))
	}
}

func (r *registration) note(err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var fault *forgemesh.Fault
	reason := ""
	if errors.As(err, &fault) {
		reason = fault.Reason
	}
	switch reason {
	case "INSTANCE_OWNED_BY_OTHER", "LEASE_NOT_FOUND", "STALE_INCARNATION":
		r.registered = false
	}
	r.refusal = err
	if !r.registered && fault != nil && r.isForGood(fault) {
		select {
		case <-r.hopeless:
		default:
			close(r.hopeless)
		}
	}
	doing := "register"
	if r.registered {
		doing = "renew the lease"
	}
	level := slog.LevelDebug
	if reason != r.reason || time.Since(r.said) > reminder {
		level, r.said = slog.LevelWarn, time.Now()
	}
	r.reason = reason
	r.log.Log(context.Background(), level, "cannot "+doing+", trying again", "error", err)
}

// isForGood says whether the same request meets the same refusal however often it is repeated.
func (r *registration) isForGood(fault *forgemesh.Fault) bool {
	switch {
	case fault.Reason == "INSTANCE_OWNED_BY_OTHER":
		return r.holderLives(fault.Metadata)
	case fault.Reason == "MANIFEST_CONFLICT":
		return true
	default:
		return fault.Code == codes.InvalidArgument || fault.Code == codes.PermissionDenied || fault.Code == codes.Unauthenticated
	}
}

// holderLives says whether who holds the id has done something since it was last seen; one that is dead has left a lease
// that will run out.
func (r *registration) holderLives(said map[string]string) bool {
	incarnation, err := strconv.ParseUint(said["incarnation"], 10, 64)
	if err != nil {
		return false
	}
	renewals, err := strconv.ParseUint(said["renewals"], 10, 64)
	if err != nil {
		return false
	}
	before := r.holder
	r.holder = [2]uint64{incarnation, renewals}
	return before != [2]uint64{} && (incarnation > before[0] || incarnation == before[0] && renewals > before[1])
}

// trouble is what the registry last said.
func (r *registration) trouble() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.refusal
}
