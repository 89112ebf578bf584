package plugin

import (
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	permitsRemembered = 4096
	longestPermit     = 256
	// permitFence is for how long a generation that was used shuts out older ones; a permit's lease is much shorter. Not for
	// ever: a balancer that starts with nothing to go by counts anew.
	permitFence = time.Minute
)

type generation struct{ incarnation, number uint64 }

func (g generation) before(other generation) bool {
	return g.incarnation < other.incarnation || g.incarnation == other.incarnation && g.number < other.number
}

// permits are those for which calls were made: each is good for one call, and only as long as no newer one has been seen.
type permits struct {
	newest generation
	used   map[string]struct{}
	order  []string
	last   time.Time
}

// refusal is why no call may be made for a permit; empty if one may.
func (p *permits) refusal(id string, of generation, now time.Time) string {
	if id == "" {
		return "it has no name"
	}
	if utf8.RuneCountInString(id) > longestPermit {
		return fmt.Sprintf("its name has more than %d characters", longestPermit)
	}
	if _, twice := p.used[id]; twice {
		return "a call was made for it already"
	}
	if of.before(p.newest) && now.Sub(p.last) < permitFence {
		later := fmt.Sprintf("incarnation %d", p.newest.incarnation)
		if of.incarnation == p.newest.incarnation {
			later = fmt.Sprintf("generation %d", p.newest.number)
		}
		return fmt.Sprintf("it is of generation %d and the circuit is at %s by now", of.number, later)
	}
	return ""
}

// use notes that a call is made for a permit against which there is nothing.
func (p *permits) use(id string, of generation, now time.Time) {
	if of != p.newest || p.used == nil {
		p.newest, p.used, p.order = of, map[string]struct{}{}, nil
	}
	p.used[id] = struct{}{}
	p.order = append(p.order, id)
	p.last = now
	if len(p.order) > permitsRemembered {
		delete(p.used, p.order[0])
		p.order = p.order[1:]
	}
}
