package plugin

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/orca"

	pluginv1 "forgemesh.dev/go/forgemesh/api/plugin/v1"
)

// fresh is for how long a report is told again as it is.
const fresh = 100 * time.Millisecond

// loadMeter says how busy this process is: to its supervisor, the registry and its callers.
type loadMeter struct {
	host     *host
	recorder orca.ServerMetricsRecorder

	mutex     sync.Mutex
	made      *pluginv1.LoadReport
	madeAt    time.Time
	last      time.Time
	cpu       time.Duration
	total     uint64
	failed    uint64
	rps, eps  float64
	cpuShares float64
}

func newLoadMeter(host *host) *loadMeter {
	return &loadMeter{host: host, recorder: orca.NewServerMetricsRecorder(), last: time.Now(), cpu: processorTime()}
}

// report is how busy it is now, at most a tenth of a second old.
func (l *loadMeter) report() *pluginv1.LoadReport {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := time.Now()
	if l.made != nil && now.Sub(l.madeAt) < fresh {
		return l.made
	}
	if passed := now.Sub(l.last); passed >= time.Second {
		cpu := processorTime()
		total, failed := l.host.tally.counts()
		l.cpuShares = float64(cpu-l.cpu) / float64(passed) / float64(runtime.GOMAXPROCS(0))
		l.rps = float64(total-l.total) / passed.Seconds()
		l.eps = float64(failed-l.failed) / passed.Seconds()
		l.last, l.cpu, l.total, l.failed = now, cpu, total, failed
	}
	running, waiting := l.host.counts()
	latency, success := l.host.tally.quality(now)
	busy := float64(running+waiting) / float64(l.host.admitted.concurrency)
	l.made = &pluginv1.LoadReport{
		CpuUtilization:         l.cpuShares,
		RpsFractional:          l.rps,
		Eps:                    l.eps,
		ApplicationUtilization: busy,
		NamedMetrics: map[string]float64{
			"in_flight":           float64(running),
			"queued":              float64(waiting),
			"latency_p95_seconds": latency.Seconds(),
			"success_rate":        success,
			"memory_bytes":        residentBytes(),
		},
	}
	l.madeAt = now
	l.recorder.SetCPUUtilization(l.cpuShares)
	l.recorder.SetApplicationUtilization(busy)
	l.recorder.SetQPS(l.rps)
	l.recorder.SetEPS(l.eps)
	return l.made
}

// tellCaller puts the report into the trailers of a unary call, as gRFC A51 has it.
func (l *loadMeter) tellCaller(recorder orca.CallMetricsRecorder) {
	report := l.report()
	recorder.SetCPUUtilization(report.GetCpuUtilization())
	recorder.SetApplicationUtilization(report.GetApplicationUtilization())
	recorder.SetQPS(report.GetRpsFractional())
	recorder.SetEPS(report.GetEps())
}

// run keeps what OpenRcaService sends up to date.
func (l *loadMeter) run(ctx context.Context) {
	for each := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			each.Stop()
			return
		case <-each.C:
			l.report()
		}
	}
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func residentBytes() float64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}
