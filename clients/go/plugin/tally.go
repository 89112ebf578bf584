package plugin

import (
	"sort"
	"sync"
	"time"
)

const (
	// tallied is how many of the newest calls latency and success are counted over.
	tallied = 512
	// recent is for how long a call counts.
	recent = time.Minute
)

// tally tells how the last calls went.
type tally struct {
	mutex  sync.Mutex
	total  uint64
	failed uint64
	newest [tallied]ending
	at     int
}

type ending struct {
	at      time.Time
	latency time.Duration
	failed  bool
}

func (t *tally) add(at time.Time, latency time.Duration, failed bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.total++
	if failed {
		t.failed++
	}
	t.newest[t.at] = ending{at, latency, failed}
	t.at = (t.at + 1) % tallied
}

func (t *tally) counts() (total, failed uint64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.total, t.failed
}

// quality is the latency below which 95 of 100 of the recent calls were, and the share of them that succeeded.
func (t *tally) quality(now time.Time) (latency time.Duration, success float64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	latencies, failed := make([]time.Duration, 0, tallied), 0
	for _, one := range t.newest {
		if one.at.IsZero() || now.Sub(one.at) > recent {
			continue
		}
		latencies = append(latencies, one.latency)
		if one.failed {
			failed++
		}
	}
	if len(latencies) == 0 {
		return 0, 1
	}
	sort.Slice(latencies, func(a, b int) bool { return latencies[a] < latencies[b] })
	return latencies[(len(latencies)*95-1)/100], 1 - float64(failed)/float64(len(latencies))
}
