package client

import (
	"errors"
	"io"
	"os"
	"os/user"

	forgemesh "forgemesh.dev/go"
	orchestratorv1 "forgemesh.dev/go/forgemesh/api/orchestrator/v1"
)

// final says whether nothing follows any more.
func final(status orchestratorv1.ExecutionStatus) bool {
	switch status {
	case orchestratorv1.ExecutionStatus_EXECUTION_STATUS_SUCCEEDED,
		orchestratorv1.ExecutionStatus_EXECUTION_STATUS_FAILED,
		orchestratorv1.ExecutionStatus_EXECUTION_STATUS_CANCELLED,
		orchestratorv1.ExecutionStatus_EXECUTION_STATUS_TERMINATED,
		orchestratorv1.ExecutionStatus_EXECUTION_STATUS_TIMED_OUT,
		orchestratorv1.ExecutionStatus_EXECUTION_STATUS_COMPENSATED,
		orchestratorv1.ExecutionStatus_EXECUTION_STATUS_COMPENSATION_FAILED:
		return true
	default:
		return false
	}
}

// ended reads how a stream ended: nil for its good end.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return forgemesh.FaultOf(err)
}

// by is who asks, for the history: the user of this process at its host.
func by() string {
	name, host := "somebody", "somewhere"
	if who, err := user.Current(); err == nil {
		name = who.Username
	}
	if where, err := os.Hostname(); err == nil {
		host = where
	}
	return name + "@" + host
}
