package plugin_test

import (
	"strings"
	"testing"

	"forgemesh.dev/go/plugin"
)

func TestAZeroThatIsSaidIsNotADefault(t *testing.T) {
	for given, none := range map[string]bool{"0": true, "7": false} {
		t.Setenv("FORGEMESH_HOST_QUEUE_LIMIT", given)
		t.Setenv("FORGEMESH_HOST_GRACE", given)

		settings, err := plugin.FromEnvironment()

		if err != nil || settings.Queue < 0 != none || settings.Grace < 0 != none {
			t.Errorf("%s: got %d, %s, %v", given, settings.Queue, settings.Grace, err)
		}
	}
}

func TestEveryMistakeInTheEnvironmentIsTold(t *testing.T) {
	for name, value := range map[string]string{"QUEUE_LIMIT": "-1", "GRACE": "NaN", "REATTACH": "perhaps", "LISTEN": "0.0.0.0:1", "LEASE_TTL": "0.5"} {
		t.Setenv("FORGEMESH_HOST_"+name, value)
	}

	_, err := plugin.FromEnvironment()

	for _, said := range []string{"QUEUE_LIMIT", "GRACE", "REATTACH", "0.0.0.0:1", "lease_ttl"} {
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s is missing in %v", said, err)
		}
	}
}
