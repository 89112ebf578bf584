// Package plugin serves operations to a mesh: a plugin written in Go.
//
//	words := plugin.New("text.words", "1.0.0")
//	plugin.Operation(words, "count", func(ctx context.Context, in Text) (int, error) { ... })
//	plugin.Main(words)
package plugin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

const (
	defaultConcurrency = 16
	defaultTimeout     = time.Minute
)

// Plugin is a named, versioned collection of operations.
type Plugin struct {
	manifest   *pluginv1.Manifest
	operations map[string]*operation
	start      func(context.Context) error
	stop       func(context.Context) error
	configure  func(context.Context, []byte) error
	saveState  func(context.Context) (any, error)
	restore    func(context.Context, State) error
	mistakes   []error
}

// State is what a predecessor left, and the version of the plugin that wrote it.
type State struct {
	decode  func(any) error
	Version string
}

// Decode reads the state into what value points to.
func (s State) Decode(value any) error { return s.decode(value) }

// Option says more about a plugin.
type Option func(*Plugin)

// New makes a plugin; its id is a dotted lower-case name, its version SemVer. Mistakes in it are told, all together, by
// Manifest, and by Main.
func New(id, version string, options ...Option) *Plugin {
	plugin := &Plugin{
		manifest:   &pluginv1.Manifest{PluginId: id, Version: version, MaxConcurrency: defaultConcurrency},
		operations: map[string]*operation{},
	}
	for _, option := range options {
		option(plugin)
	}
	return plugin
}

// Description is a sentence for people.
func Description(text string) Option { return func(p *Plugin) { p.manifest.Description = text } }

// Provides says which interfaces the plugin fulfils, each as "name@version".
func Provides(interfaces ...string) Option {
	return func(p *Plugin) {
		for _, provided := range interfaces {
			name, version, found := strings.Cut(provided, "@")
			if !found || name == "" || version == "" {
				p.mistake("Provides(%q) is not \"name@version\"", provided)
				continue
			}
			p.manifest.Provides = append(p.manifest.Provides, &pluginv1.Interface{Name: name, Version: version})
		}
	}
}

// Requires says which plugins this one needs, each as "id@range", or as "id" for any version.
func Requires(plugins ...string) Option {
	return func(p *Plugin) {
		for _, required := range plugins {
			id, versions, _ := strings.Cut(required, "@")
			p.manifest.Dependencies = append(p.manifest.Dependencies, &pluginv1.Dependency{
				Target:       &pluginv1.Dependency_PluginId{PluginId: id},
				VersionRange: versions,
			})
		}
	}
}

// Needs says what the plugin needs, in full: a plugin or an interface, whether it works without, what its loss means.
func Needs(dependency *pluginv1.Dependency) Option {
	return func(p *Plugin) { p.manifest.Dependencies = append(p.manifest.Dependencies, dependency) }
}

// MaxConcurrency is how many calls one instance runs at a time; 16 without it. More wait in its queue.
func MaxConcurrency(calls uint32) Option {
	return func(p *Plugin) {
		if calls == 0 {
			p.mistake("MaxConcurrency(0) would run nothing")
			return
		}
		p.manifest.MaxConcurrency = calls
	}
}

// Priority is published for the selection of a provider: a higher one is preferred.
func Priority(priority int32) Option { return func(p *Plugin) { p.manifest.Priority = priority } }

// Weight is the share of traffic relative to other instances.
func Weight(weight uint32) Option { return func(p *Plugin) { p.manifest.Weight = weight } }

// Metadata are facts for people and programs.
func Metadata(metadata map[string]string) Option {
	return func(p *Plugin) { p.manifest.Metadata = metadata }
}

// OnStart is called before the first call. An error keeps the instance from serving.
func OnStart(start func(context.Context) error) Option { return func(p *Plugin) { p.start = start } }

// OnStop is called after the last call.
func OnStop(stop func(context.Context) error) Option { return func(p *Plugin) { p.stop = stop } }

// SavesState lets a successor begin with what the function returns: anything that JSON can hold, or a Payload, at most
// 3 MiB.
func SavesState(save func(context.Context) (any, error)) Option {
	return func(p *Plugin) { p.saveState = save }
}

// RestoresState is called after the start with what a predecessor left. An error keeps the instance from serving, and the
// predecessor goes on.
func RestoresState(restore func(context.Context, State) error) Option {
	return func(p *Plugin) { p.restore = restore }
}

// Manifest is what the plugin publishes, or every mistake in it.
func (p *Plugin) Manifest() (*pluginv1.Manifest, error) {
	mistakes := append([]error(nil), p.mistakes...)
	if !pluginID.MatchString(p.manifest.GetPluginId()) {
		mistakes = append(mistakes, fmt.Errorf("the id %q is no dotted lower-case name like \"weather.stats\"", p.manifest.GetPluginId()))
	}
	if !semver.MatchString(p.manifest.GetVersion()) {
		mistakes = append(mistakes, fmt.Errorf("the version %q is not SemVer like \"1.2.0\"", p.manifest.GetVersion()))
	}
	if len(p.operations) == 0 {
		mistakes = append(mistakes, errors.New("it has no operation; add one with plugin.Operation"))
	}
	if len(mistakes) > 0 {
		return nil, fmt.Errorf("plugin %s: %w", p.manifest.GetPluginId(), errors.Join(mistakes...))
	}
	p.manifest.Operations = p.manifest.Operations[:0]
	for _, name := range p.names() {
		p.manifest.Operations = append(p.manifest.Operations, p.operations[name].described)
	}
	return p.manifest, nil
}

func (p *Plugin) names() []string {
	names := make([]string, 0, len(p.operations))
	for name := range p.operations {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (p *Plugin) mistake(format string, facts ...any) {
	p.mistakes = append(p.mistakes, fmt.Errorf(format, facts...))
}

var (
	pluginID      = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$`)
	operationName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	semver        = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

// OperationOption says more about an operation.
type OperationOption func(*pluginv1.Operation)

// Idempotent says that a repeated call is harmless: it may also be hedged, and used for trial calls.
func Idempotent() OperationOption {
	return func(o *pluginv1.Operation) { o.Idempotency = pluginv1.Idempotency_IDEMPOTENCY_IDEMPOTENT }
}

// NotIdempotent says that a repetition does harm: it is never repeated while the fate of an earlier call is unknown.
func NotIdempotent() OperationOption {
	return func(o *pluginv1.Operation) { o.Idempotency = pluginv1.Idempotency_IDEMPOTENCY_NOT_IDEMPOTENT }
}

// Timeout is how long a call may take if its caller does not say; a minute without it.
func Timeout(length time.Duration) OperationOption {
	return func(o *pluginv1.Operation) { o.Timeout = durationpb.New(length) }
}

// Cacheable says that equal inputs give equal outputs.
func Cacheable() OperationOption { return func(o *pluginv1.Operation) { o.Cacheable = true } }

// Describing tells people what the operation does.
func Describing(text string) OperationOption {
	return func(o *pluginv1.Operation) { o.Description = text }
}

// Schemas are JSON Schemas (2020-12) of input and output in place of those that follow from the types; an empty one stays
// as it follows.
func Schemas(input, output string) OperationOption {
	return func(o *pluginv1.Operation) {
		if input != "" {
			o.InputSchema = input
		}
		if output != "" {
			o.OutputSchema = output
		}
	}
}
