package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"

	forgemesh "forgemesh.dev/go"
	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

// operation is one callable function; run reads the input, calls it and writes its output.
type operation struct {
	described *pluginv1.Operation
	run       func(context.Context, forgemesh.Payload) (forgemesh.Payload, error)
}

// misfit is an input or an output that does not fit its operation's types.
type misfit struct {
	output bool
	cause  error
}

func (m *misfit) Error() string { return m.cause.Error() }

// Operation makes a function callable under a name.
//
// The input is read into In and the output written from Out as encoding/json does; both give their JSON Schemas to the
// manifest. An In or Out of forgemesh.Payload passes unread, so that protobuf or images can travel. The context ends when
// the call is taken back or its time is over, and holds the Call and its span.
//
// An error made by Fail is the operation's failure as it says. Any other error, and a panic, is PLUGIN_EXCEPTION.
func Operation[In, Out any](p *Plugin, name string, do func(context.Context, In) (Out, error), options ...OperationOption) {
	described := &pluginv1.Operation{Name: name}
	if !operationName.MatchString(name) {
		p.mistake("operation %q: a name has letters, digits and _, at most 64, and begins with no digit", name)
	}
	if _, twice := p.operations[name]; twice {
		p.mistake("operation %q is there twice", name)
	}
	input, err := schemaOf[In]()
	if err != nil {
		p.mistake("operation %q: its input has no JSON Schema: %w", name, err)
	}
	output, err := schemaOf[Out]()
	if err != nil {
		p.mistake("operation %q: its output has no JSON Schema: %w", name, err)
	}
	described.InputSchema, described.OutputSchema = input.text, output.text
	for _, option := range options {
		option(described)
	}
	p.operations[name] = &operation{
		described: described,
		run: func(ctx context.Context, given forgemesh.Payload) (forgemesh.Payload, error) {
			var in In
			if err := read(given, input, &in); err != nil {
				return forgemesh.Payload{}, &misfit{cause: err}
			}
			out, err := do(ctx, in)
			if err != nil {
				return forgemesh.Payload{}, err
			}
			payload, err := forgemesh.Encode(out)
			if err != nil {
				return forgemesh.Payload{}, &misfit{output: true, cause: err}
			}
			return payload, nil
		},
	}
}

// schema is of one type: its text for the manifest, and what has to be looked for before a value is read.
type schema struct {
	text     string
	required []string
	raw      bool
}

func schemaOf[T any]() (schema, error) {
	kind := reflect.TypeFor[T]()
	if kind == reflect.TypeFor[forgemesh.Payload]() {
		return schema{raw: true}, nil
	}
	made, err := jsonschema.For[T](nil)
	if err != nil {
		return schema{}, err
	}
	opened(made)
	text, err := json.Marshal(made)
	if err != nil {
		return schema{}, err
	}
	if string(text) == "true" || string(text) == "{}" {
		return schema{}, nil
	}
	return schema{text: string(text), required: made.Required}, nil
}

// opened lets objects have keys that no field takes: they are ignored, so that a caller may be newer than its plugin.
func opened(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if len(s.Properties) > 0 {
		s.AdditionalProperties = nil
	}
	for _, property := range s.Properties {
		opened(property)
	}
	opened(s.Items)
	if s.AdditionalProperties != nil {
		opened(s.AdditionalProperties)
	}
}

// read fills value; what is required and missing is named.
func read(given forgemesh.Payload, expected schema, value any) error {
	if raw, ok := value.(*forgemesh.Payload); ok {
		*raw = given
		return nil
	}
	if len(given.Data) == 0 {
		given.Data = []byte("{}")
	}
	if len(expected.required) > 0 {
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(given.Data, &keys); err == nil {
			for _, required := range expected.required {
				if _, ok := keys[required]; !ok {
					return fmt.Errorf("$.%s: is missing", required)
				}
			}
		}
	}
	if err := given.Decode(value); err != nil {
		return placed(err, given.Data)
	}
	return nil
}

// placed says where in the input a value of another type stands.
func placed(err error, data []byte) error {
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) {
		place := "$"
		if other.Field != "" {
			place += "." + other.Field
		}
		return fmt.Errorf("%s: expected %s, got %s", place, other.Type, other.Value)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(data[:min(int64(len(data)), syntax.Offset)], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("$: the text ends in the midst of a value")
	}
	return err
}
