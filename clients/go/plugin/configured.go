package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	forgemesh "forgemesh.dev/go"
	supervisorv1 "forgemesh.dev/go/forgemesh/api/supervisor/v1"
)

const mostState = 3 << 20

// configured is a started plugin, as far as its supervisor changes it or asks it.
type configured struct {
	plugin *Plugin

	mutex    sync.Mutex
	config   []byte
	revision uint64
}

// begin configures the plugin, starts it and gives it what its predecessor left.
func begin(ctx context.Context, plugin *Plugin, config []byte, revision uint64, state *supervisorv1.SavedState) (*configured, supervisorv1.HostPhase, error) {
	if plugin.configure != nil {
		if err := guarded(func() error { return plugin.configure(ctx, config) }); err != nil {
			return nil, supervisorv1.HostPhase_HOST_PHASE_CONFIG, fmt.Errorf("its configuration is refused: %w", err)
		}
	}
	if plugin.start != nil {
		if err := guarded(func() error { return plugin.start(ctx) }); err != nil {
			return nil, supervisorv1.HostPhase_HOST_PHASE_INIT, fmt.Errorf("it did not start: %w", err)
		}
	}
	if plugin.restore != nil && state.GetPayload() != nil {
		left := State{decode: forgemesh.PayloadOf(state.GetPayload()).Decode, Version: state.GetPluginVersion()}
		if err := guarded(func() error { return plugin.restore(ctx, left) }); err != nil {
			return nil, supervisorv1.HostPhase_HOST_PHASE_INIT, fmt.Errorf("it did not take its predecessor's state: %w", err)
		}
	}
	return &configured{plugin: plugin, config: config, revision: revision}, supervisorv1.HostPhase_HOST_PHASE_UNSPECIFIED, nil
}

func (c *configured) currentRevision() uint64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.revision
}

// configure takes another configuration on, or says why not; then the one before counts again.
func (c *configured) configure(ctx context.Context, asked *supervisorv1.Configure) *supervisorv1.ConfigureResult {
	result := &supervisorv1.ConfigureResult{Revision: asked.GetRevision(), Request: asked.GetRequest()}
	if c.plugin.configure == nil {
		result.NeedsRestart = true
		return result
	}
	within := timeOf(asked.GetWithin())
	err := bounded(ctx, within, func(ctx context.Context) error { return c.plugin.configure(ctx, []byte(asked.GetConfig())) })
	c.mutex.Lock()
	before := c.config
	if err == nil {
		c.config, c.revision = []byte(asked.GetConfig()), asked.GetRevision()
	}
	c.mutex.Unlock()
	if err != nil {
		result.Refusal = cut(err.Error())
		again := bounded(ctx, within, func(ctx context.Context) error { return c.plugin.configure(ctx, before) })
		result.Unsettled = again != nil
	}
	return result
}

// save is what a successor begins with.
func (c *configured) save(ctx context.Context, asked *supervisorv1.SaveState) *supervisorv1.SavedState {
	saved := &supervisorv1.SavedState{PluginVersion: c.plugin.manifest.GetVersion(), Request: asked.GetRequest()}
	if c.plugin.saveState == nil {
		return saved
	}
	err := bounded(ctx, timeOf(asked.GetWithin()), func(ctx context.Context) error {
		state, err := c.plugin.saveState(ctx)
		if err != nil {
			return err
		}
		payload, err := forgemesh.Encode(state)
		if err != nil {
			return err
		}
		if size := payload.Size(); size > mostState {
			return fmt.Errorf("its state has %d bytes, a successor takes %d", size, mostState)
		}
		saved.Payload = payload.Message()
		return nil
	})
	if err != nil {
		return &supervisorv1.SavedState{PluginVersion: saved.PluginVersion, Request: saved.Request, Failure: cut(err.Error())}
	}
	return saved
}

func timeOf(within *durationpb.Duration) time.Duration {
	if within == nil || within.AsDuration() <= 0 {
		return changeTimeout
	}
	return within.AsDuration()
}

// bounded runs a function of the author's for as long as it may take; one that goes on is left alone.
func bounded(ctx context.Context, within time.Duration, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- guarded(func() error { return run(ctx) }) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("it takes longer than %s", within)
		}
		return ctx.Err()
	}
}

// guarded makes an error of a panic.
func guarded(run func() error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	return run()
}
