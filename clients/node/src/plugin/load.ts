/** How busy this process is: for its supervisor, the registry and its callers. */

import { availableParallelism } from "node:os";
import { ServerMetricRecorder, type ServerUnaryCall } from "@grpc/grpc-js";
import type { LoadReport } from "../api/forgemesh/api/plugin/v1/load.js";
import type { Host } from "./host.js";

/** Milliseconds for which a report is told again as it is. */
const FRESH = 100;
/** Milliseconds over which rates are counted. */
const PERIOD = 1000;

type CallRecorder = ReturnType<ServerUnaryCall<never, never>["getMetricsRecorder"]>;

export class LoadMeter {
  readonly recorder = new ServerMetricRecorder();
  readonly #host: Host;
  readonly #timer: NodeJS.Timeout;
  #made: LoadReport | undefined;
  #madeAt = 0;
  #last = performance.now();
  #processor = process.cpuUsage();
  #total = 0;
  #failed = 0;
  #rates = { cpu: 0, calls: 0, failures: 0 };

  constructor(host: Host) {
    this.#host = host;
    this.#timer = setInterval(() => this.report(), PERIOD).unref();
  }

  /** How busy it is now, at most a tenth of a second old. */
  report(): LoadReport {
    const now = performance.now();
    if (this.#made !== undefined && now - this.#madeAt < FRESH) {
      return this.#made;
    }
    this.#count(now);
    const { admission, tally } = this.#host;
    const { latency, success } = tally.quality(now);
    const busy = (admission.running + admission.waiting) / admission.concurrency;
    this.#made = {
      cpuUtilization: this.#rates.cpu,
      rpsFractional: this.#rates.calls,
      eps: this.#rates.failures,
      applicationUtilization: busy,
      namedMetrics: {
        in_flight: admission.running,
        queued: admission.waiting,
        latency_p95_seconds: latency / 1000,
        success_rate: success,
        memory_bytes: process.memoryUsage.rss(),
      },
    };
    this.#madeAt = now;
    this.recorder.setCpuUtilizationMetric(this.#rates.cpu);
    this.recorder.setApplicationUtilizationMetric(busy);
    this.recorder.setQpsMetric(this.#rates.calls);
    this.recorder.setEpsMetric(this.#rates.failures);
    return this.#made;
  }

  /** Puts the report into the trailers of a unary call, as gRFC A51 has it. */
  tellCaller(recorder: CallRecorder): void {
    const report = this.report();
    recorder.recordCPUUtilizationMetric(report.cpuUtilization);
    recorder.recordApplicationUtilizationMetric(report.applicationUtilization);
    recorder.recordQpsMetric(report.rpsFractional);
    recorder.recordEpsMetric(report.eps);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #count(now: number): void {
    const passed = now - this.#last;
    if (passed < PERIOD * 0.9) {
      return;
    }
    const { total, failed } = this.#host.tally;
    const used = process.cpuUsage(this.#processor);
    this.#rates = {
      cpu: (used.user + used.system) / 1000 / passed / availableParallelism(),
      calls: ((total - this.#total) * 1000) / passed,
      failures: ((failed - this.#failed) * 1000) / passed,
    };
    this.#last = now;
    this.#processor = process.cpuUsage();
    this.#total = total;
    this.#failed = failed;
  }
}
