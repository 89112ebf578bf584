// Command words is a plugin that looks at texts.
package main

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"

	"forgemesh.dev/go/plugin"
)

// Text is what every operation works on.
type Text struct {
	Text string `json:"text"`
}

// Counted is how long a text is.
type Counted struct {
	Words      int   `json:"words"`
	Characters int64 `json:"characters"`
}

func count(ctx context.Context, in Text) (Counted, error) {
	if strings.TrimSpace(in.Text) == "" {
		return Counted{}, plugin.Fail("TEXT_EMPTY", "there are no words to count", plugin.WithCode(codes.InvalidArgument))
	}
	plugin.CallOf(ctx).Progress(0.5, "counting")
	return Counted{Words: len(strings.Fields(in.Text)), Characters: int64(len([]rune(in.Text)))}, nil
}

func shout(_ context.Context, in Text) (string, error) { return strings.ToUpper(in.Text), nil }

func words() *plugin.Plugin {
	served := plugin.New("text.words", "1.0.0", plugin.Description("Looks at texts."), plugin.Provides("text.counter@1.0.0"))
	plugin.Operation(served, "count", count, plugin.Idempotent(), plugin.Describing("How many words there are."))
	plugin.Operation(served, "shout", shout, plugin.Idempotent())
	return served
}

func main() { plugin.Main(words()) }
