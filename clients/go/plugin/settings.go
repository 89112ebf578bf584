package plugin

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Settings say where a host listens and whom it tells; Main reads them from the environment, FORGEMESH_HOST_*, as they are
// named here in capitals.
type Settings struct {
	// Listen and HealthListen are host:port; 127.0.0.1:0 without them.
	Listen, HealthListen string
	// Advertise is the host name that others reach this one by; empty means the one it listens on.
	Advertise string
	// Insecure allows to listen beyond this machine without TLS.
	Insecure bool
	// InstanceID is unique in the mesh; without one it is made up from the plugin's id and the process number.
	InstanceID string
	// Name and Tenure are told to the registry: the section of forgemesh.toml, and what successive processes have in common.
	Name, Tenure string
	// Registry and Traces are host:port; empty means not to register, and to send no spans there.
	Registry, Traces string
	// Supervisor is called back with the Token that it gave this process; SupervisorFile says where a successor of it is.
	Supervisor, Token, SupervisorFile string
	// Reattach lets the host outlive its supervisor, and look for a new one for ReattachFor.
	Reattach    bool
	ReattachFor time.Duration
	// OwnerToken lets a restarted process take over the registration of its predecessor, OwnerKey is that of the plugin.
	OwnerToken, OwnerKey string
	// Queue is how many calls without a credit may wait; 64 if it is zero, none if it is negative.
	Queue int
	// LeaseTTL is how long a registration lasts without renewal; 15 s without it.
	LeaseTTL time.Duration
	// Grace is what running calls have at the end; 5 s if it is zero, none if it is negative.
	Grace time.Duration
	// Config is the file of the plugin's configuration as JSON, for a host without a supervisor.
	Config string
	// Log takes what the host says; standard error without it.
	Log *slog.Logger
}

// FromEnvironment reads the settings, and takes the secrets out of the environment. Everything that is wrong is told.
func FromEnvironment() (Settings, error) {
	var mistakes []error
	text := func(name, otherwise string) string {
		if value, ok := os.LookupEnv("FORGEMESH_HOST_" + name); ok {
			return value
		}
		return otherwise
	}
	secret := func(name string) string {
		value := text(name, "")
		_ = os.Unsetenv("FORGEMESH_HOST_" + name) // neither the plugin nor what it starts is to know it
		return value
	}
	seconds := func(name string, otherwise time.Duration) time.Duration {
		given := text(name, "")
		if given == "" {
			return otherwise
		}
		value, err := strconv.ParseFloat(given, 64)
		if err != nil || !(value >= 0 && value <= 86_400) {
			mistakes = append(mistakes, fmt.Errorf("FORGEMESH_HOST_%s = %q is not between 0 and 86400 seconds", name, given))
			return otherwise
		}
		return time.Duration(value * float64(time.Second))
	}
	truth := func(name string) bool {
		switch given := strings.ToLower(text(name, "")); given {
		case "1", "true":
			return true
		case "", "0", "false":
			return false
		default:
			mistakes = append(mistakes, fmt.Errorf("FORGEMESH_HOST_%s = %q is neither true nor false", name, given))
			return false
		}
	}
	settings := Settings{
		Listen:         text("LISTEN", "127.0.0.1:0"),
		HealthListen:   text("HEALTH_LISTEN", "127.0.0.1:0"),
		Advertise:      text("ADVERTISE", ""),
		Insecure:       truth("INSECURE"),
		InstanceID:     text("INSTANCE_ID", ""),
		Name:           text("NAME", ""),
		Tenure:         text("TENURE", ""),
		Registry:       text("REGISTRY", ""),
		Traces:         text("TRACES", ""),
		Supervisor:     text("SUPERVISOR", ""),
		Token:          secret("TOKEN"),
		SupervisorFile: text("SUPERVISOR_FILE", ""),
		Reattach:       truth("REATTACH"),
		ReattachFor:    seconds("REATTACH_SECONDS", 30*time.Second),
		OwnerToken:     secret("OWNER_TOKEN"),
		Queue:          64,
		LeaseTTL:       seconds("LEASE_TTL", 15*time.Second),
		Grace:          orNone(seconds("GRACE", 5*time.Second)),
		Config:         text("CONFIG", ""),
	}
	if file := text("OWNER_KEY_FILE", ""); file != "" {
		key, err := os.ReadFile(file)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("FORGEMESH_HOST_OWNER_KEY_FILE: %w", err))
		}
		settings.OwnerKey = strings.TrimSpace(string(key))
	}
	if given := text("QUEUE_LIMIT", ""); given != "" {
		limit, err := strconv.Atoi(given)
		if err != nil || limit < 0 {
			mistakes = append(mistakes, fmt.Errorf("FORGEMESH_HOST_QUEUE_LIMIT = %q is no number of calls", given))
		}
		settings.Queue = orNone(limit)
	}
	return settings, errors.Join(append(mistakes, settings.check())...)
}

func (s Settings) check() error {
	var mistakes []error
	if s.Supervisor != "" && (s.Token == "" || s.InstanceID == "") {
		mistakes = append(mistakes, fmt.Errorf("supervisor = %q needs a token and an instance id beside it", s.Supervisor))
	}
	if s.Supervisor != "" && s.Config != "" {
		mistakes = append(mistakes, fmt.Errorf("config = %q beside a supervisor, which gives the configuration itself", s.Config))
	}
	if s.LeaseTTL < time.Second || s.LeaseTTL > 10*time.Minute {
		mistakes = append(mistakes, fmt.Errorf("lease_ttl = %s is not between 1 and 600 seconds", s.LeaseTTL))
	}
	for name, address := range map[string]string{"listen": s.Listen, "health_listen": s.HealthListen} {
		host, _, err := net.SplitHostPort(address)
		switch {
		case err != nil:
			mistakes = append(mistakes, fmt.Errorf("%s = %q is not host:port", name, address))
		case !s.Insecure && host != "localhost" && !net.ParseIP(host).IsLoopback():
			mistakes = append(mistakes, fmt.Errorf(
				"%s = %q is reached from beyond this machine, and nothing is encrypted there; set FORGEMESH_HOST_INSECURE=true if that is meant",
				name, address))
		}
	}
	return errors.Join(mistakes...)
}

func (s Settings) withDefaults(plugin string) Settings {
	if s.Listen == "" {
		s.Listen = "127.0.0.1:0"
	}
	if s.HealthListen == "" {
		s.HealthListen = "127.0.0.1:0"
	}
	if s.InstanceID == "" {
		s.InstanceID = defaultInstanceID(plugin)
	}
	if s.OwnerToken == "" {
		s.OwnerToken = newSecret()
	}
	if s.Queue == 0 {
		s.Queue = 64
	}
	s.Queue = max(0, s.Queue)
	if s.LeaseTTL == 0 {
		s.LeaseTTL = 15 * time.Second
	}
	if s.Grace == 0 {
		s.Grace = 5 * time.Second
	}
	s.Grace = max(0, s.Grace)
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return s
}

// orNone says none where zero means that nothing was said.
func orNone[Number int | time.Duration](given Number) Number {
	if given == 0 {
		return -1
	}
	return given
}

func newSecret() string {
	var bytes [16]byte
	_, _ = rand.Read(bytes[:]) // it never fails
	return hex.EncodeToString(bytes[:])
}
