package plugin

import (
	"context"
	"encoding/json"

	"github.com/google/jsonschema-go/jsonschema"

	forgemesh "forgemesh.dev/go"
)

// Configured gives the plugin a configuration of a type of its own: it is called with it before the start, and again
// whenever it changes. An error refuses the change, and the plugin is called again with the configuration before.
//
// Its JSON Schema goes into the manifest; what does not fit it is refused before the plugin sees it.
func Configured[T any](configure func(context.Context, T) error) Option {
	return func(p *Plugin) {
		made, err := jsonschema.For[T](nil)
		if err != nil {
			p.mistake("its configuration has no JSON Schema: %w", err)
			return
		}
		text, err := json.Marshal(made)
		if err != nil {
			p.mistake("its configuration has no JSON Schema: %w", err)
			return
		}
		p.manifest.ConfigSchema = string(text)
		p.configure = func(ctx context.Context, given []byte) error {
			var config T
			if len(given) == 0 {
				given = []byte("{}")
			}
			if err := (forgemesh.Payload{Data: given}).Decode(&config); err != nil {
				return placed(err, given)
			}
			return configure(ctx, config)
		}
	}
}
