// Package forgemesh holds what callers and plugins have in common: payloads and faults.
package forgemesh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	payloadv1 "forgemesh.dev/go/forgemesh/api/payload/v1"
)

// JSON is the media type of a payload that names none.
const JSON = "application/json"

// Payload is a value that travels through the mesh byte for byte, as its producer wrote it.
type Payload struct {
	// MediaType says how to read Data; empty means JSON.
	MediaType string
	Data      []byte
	// Metadata are small facts that are kept with the value.
	Metadata map[string]string
}

// Encode makes a payload of any value: a Payload stays what it is, everything else becomes JSON.
func Encode(value any) (Payload, error) {
	switch value := value.(type) {
	case Payload:
		return value, nil
	case *Payload:
		return *value, nil
	}
	data, err := json.Marshal(value)
	if err != nil {
		return Payload{}, fmt.Errorf("forgemesh: the value cannot be written as JSON: %w", err)
	}
	return Payload{MediaType: JSON, Data: data}, nil
}

// IsJSON says whether the payload is JSON: application/json or a type that ends in +json.
func (p Payload) IsJSON() bool {
	if p.MediaType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(p.MediaType)
	return err == nil && (kind == JSON || strings.HasSuffix(kind, "+json"))
}

// Decode reads a JSON payload into what value points to. Numbers in an `any` are json.Number, so that integers of any
// size stay exact.
func (p Payload) Decode(value any) error {
	if !p.IsJSON() {
		return fmt.Errorf("forgemesh: a payload of type %q cannot be read as JSON", p.MediaType)
	}
	decoder := json.NewDecoder(bytes.NewReader(p.Data))
	decoder.UseNumber()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if decoder.More() {
		return fmt.Errorf("forgemesh: there is something behind the JSON value")
	}
	return nil
}

// Size is the number of bytes of the data and the metadata.
func (p Payload) Size() int {
	size := len(p.MediaType) + len(p.Data)
	for key, value := range p.Metadata {
		size += len(key) + len(value)
	}
	return size
}

// Message is the payload as it travels.
func (p Payload) Message() *payloadv1.Payload {
	return &payloadv1.Payload{MediaType: p.MediaType, Data: p.Data, Metadata: p.Metadata}
}

// PayloadOf reads a payload that has travelled; none is an empty JSON payload.
func PayloadOf(message *payloadv1.Payload) Payload {
	if message == nil {
		return Payload{MediaType: JSON}
	}
	kind := message.GetMediaType()
	if kind == "" {
		kind = JSON
	}
	return Payload{MediaType: kind, Data: message.GetData(), Metadata: message.GetMetadata()}
}
