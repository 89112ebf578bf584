package plugin

import "time"

type verdict int

const (
	admitted verdict = iota
	queued
	full
	tooLate
)

// newestCounts is the share of the newest run in the mean of run times.
const newestCounts = 0.1

// admission decides which calls run, which wait and which are refused: at most `concurrency` run at a time, those behind
// them wait in order of arrival. A call with a credit always waits if it cannot run, one without only while fewer than
// `queue` do. None waits that is likely to be given up before its turn.
type admission struct {
	concurrency, queue int
	running, waiting   int
	meanRun            time.Duration
}

func (a *admission) idle() bool { return a.running == 0 && a.waiting == 0 }

func (a *admission) expectedWait() time.Duration {
	if a.running < a.concurrency && a.waiting == 0 {
		return 0
	}
	return time.Duration((float64(a.waiting) + 0.5) * float64(a.meanRun) / float64(a.concurrency))
}

// arrive counts a call that is wanted for so long, unless it is refused.
func (a *admission) arrive(credited bool, within time.Duration) verdict {
	switch {
	case a.running < a.concurrency && a.waiting == 0:
		a.running++
		return admitted
	case !credited && a.waiting >= a.queue:
		return full
	case a.expectedWait() >= within:
		return tooLate
	default:
		a.waiting++
		return queued
	}
}

// leave takes a call out that ran for so long, and says whether the first of those that wait runs now in its place.
func (a *admission) leave(ran time.Duration) bool {
	if a.meanRun == 0 {
		a.meanRun = ran
	} else {
		a.meanRun += time.Duration(float64(ran-a.meanRun) * newestCounts)
	}
	a.running--
	if a.waiting == 0 {
		return false
	}
	a.waiting--
	a.running++
	return true
}

// abandon takes a call out that waits and is not wanted any more.
func (a *admission) abandon() { a.waiting-- }
