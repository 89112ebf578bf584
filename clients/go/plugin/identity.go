package plugin

import (
	"fmt"
	"os"
	"sync"
)

// identity is an instance and its incarnations, one for each time that this process has registered. A call may mean any of
// them, since all are this process; one that means another process is refused.
type identity struct {
	instanceID string
	mutex      sync.Mutex
	newest     uint64
	own        map[uint64]struct{}
}

func newIdentity(instanceID string) *identity {
	return &identity{instanceID: instanceID, own: map[uint64]struct{}{0: {}}}
}

func (i *identity) registered(incarnation uint64) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.newest = incarnation
	i.own[incarnation] = struct{}{}
}

func (i *identity) incarnation() uint64 {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.newest
}

// refuseOthers is an error if a caller means another process; 0 means any.
func (i *identity) refuseOthers(wanted uint64) error {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if _, ours := i.own[wanted]; ours {
		return nil
	}
	return wrongIncarnation(i.instanceID, wanted, i.newest)
}

// defaultInstanceID is what a host is called that nobody has named. The first process of a container has the number 1
// everywhere; it is called as its machine is, which on Kubernetes is the name of the pod.
func defaultInstanceID(plugin string) string {
	if number := os.Getpid(); number != 1 {
		return fmt.Sprintf("%s-%d", plugin, number)
	}
	name, err := os.Hostname()
	if err != nil {
		return plugin
	}
	return name
}
