package main

import (
	"errors"
	"testing"

	forgemesh "forgemesh.dev/go"
	"forgemesh.dev/go/plugintest"
)

func TestWordsAreCounted(t *testing.T) {
	host := plugintest.Run(t, words())

	var counted Counted
	if err := host.Call(t.Context(), "count", Text{"so many words"}, &counted); err != nil {
		t.Fatal(err)
	}

	if counted != (Counted{Words: 3, Characters: 13}) {
		t.Errorf("counted %+v", counted)
	}
}

func TestATextWithoutWordsIsRefused(t *testing.T) {
	host := plugintest.Run(t, words())

	if err := host.Call(t.Context(), "count", Text{" "}, nil); !errors.Is(err, forgemesh.Reason("TEXT_EMPTY")) {
		t.Errorf("got %v", err)
	}
}
