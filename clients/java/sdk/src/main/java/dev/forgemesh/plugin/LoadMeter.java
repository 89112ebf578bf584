package dev.forgemesh.plugin;

import com.google.protobuf.Duration;
import com.google.protobuf.util.Durations;
import dev.forgemesh.api.plugin.v1.LoadReport;
import dev.forgemesh.api.plugin.v1.LoadReportRequest;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Says how busy this process is: to its supervisor, the registry and its callers. */
final class LoadMeter {
  /** For how long a report is told again as it is. */
  private static final long FRESH = TimeUnit.MILLISECONDS.toNanos(100);

  private static final long WINDOW = TimeUnit.SECONDS.toNanos(1);
  private static final int PAGE_BYTES = 4096;
  private static final Metadata.Key<byte[]> TRAILER =
      Metadata.Key.of("endpoint-load-metrics-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private final Host host;
  private final com.sun.management.OperatingSystemMXBean process =
      (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
  private LoadReport made;
  private long madeAt;
  private long last = System.nanoTime();
  private long processorTime = process.getProcessCpuTime();
  private long total;
  private long failed;
  private double processorShare;
  private double perSecond;
  private double failedPerSecond;

  LoadMeter(Host host) {
    this.host = host;
  }

  /** How busy it is now, at most a tenth of a second old. */
  synchronized LoadReport report() {
    long now = System.nanoTime();
    if (made != null && now - madeAt < FRESH) {
      return made;
    }
    long passed = now - last;
    if (passed >= WINDOW) {
      long spent = process.getProcessCpuTime();
      long calls = host.tally().total();
      long failures = host.tally().failed();
      processorShare =
          (double) (spent - processorTime) / passed / Runtime.getRuntime().availableProcessors();
      perSecond = (calls - total) * 1e9 / passed;
      failedPerSecond = (failures - failed) * 1e9 / passed;
      last = now;
      processorTime = spent;
      total = calls;
      failed = failures;
    }
    int running = host.running();
    int waiting = host.waiting();
    Tally.Quality quality = host.tally().quality(now);
    madeAt = now;
    made =
        LoadReport.newBuilder()
            .setCpuUtilization(processorShare)
            .setRpsFractional(perSecond)
            .setEps(failedPerSecond)
            .setApplicationUtilization((double) (running + waiting) / host.concurrency())
            .putNamedMetrics("in_flight", running)
            .putNamedMetrics("queued", waiting)
            .putNamedMetrics("latency_p95_seconds", quality.latencySeconds())
            .putNamedMetrics("success_rate", quality.success())
            .putNamedMetrics("memory_bytes", residentBytes())
            .build();
    return made;
  }

  /**
   * OpenRcaService, whose messages on the wire are ours: a report each second, or as seldom as the
   * caller wants.
   */
  ServerServiceDefinition openRca() {
    String name = "xds.service.orca.v3.OpenRcaService";
    MethodDescriptor<LoadReportRequest, LoadReport> method =
        MethodDescriptor.<LoadReportRequest, LoadReport>newBuilder()
            .setType(MethodDescriptor.MethodType.SERVER_STREAMING)
            .setFullMethodName(MethodDescriptor.generateFullMethodName(name, "StreamCoreMetrics"))
            .setRequestMarshaller(ProtoUtils.marshaller(LoadReportRequest.getDefaultInstance()))
            .setResponseMarshaller(ProtoUtils.marshaller(LoadReport.getDefaultInstance()))
            .build();
    return ServerServiceDefinition.builder(name)
        .addMethod(
            method,
            ServerCalls.asyncServerStreamingCall(
                (request, to) ->
                    stream(request.getReportInterval(), (ServerCallStreamObserver<LoadReport>) to)))
        .build();
  }

  private void stream(Duration wanted, ServerCallStreamObserver<LoadReport> to) {
    long every = Math.max(WINDOW, Durations.toNanos(wanted));
    Future<?> reports =
        host.timers()
            .scheduleAtFixedRate(
                () -> {
                  if (to.isReady()) {
                    to.onNext(report());
                  }
                },
                0,
                every,
                TimeUnit.NANOSECONDS);
    to.setOnCancelHandler(() -> reports.cancel(false));
  }

  /** Puts the report into the trailers of a unary call, as gRFC A51 has it. */
  ServerInterceptor trailers() {
    return new ServerInterceptor() {
      @Override
      public <A, B> ServerCall.Listener<A> interceptCall(
          ServerCall<A, B> call, Metadata headers, ServerCallHandler<A, B> next) {
        if (call.getMethodDescriptor().getType() != MethodDescriptor.MethodType.UNARY) {
          return next.startCall(call, headers);
        }
        return next.startCall(
            new SimpleForwardingServerCall<>(call) {
              @Override
              public void close(Status status, Metadata trailers) {
                trailers.put(TRAILER, report().toByteArray());
                super.close(status, trailers);
              }
            },
            headers);
      }
    };
  }

  private static double residentBytes() {
    try {
      return Double.parseDouble(Files.readString(Path.of("/proc/self/statm")).split(" ")[1])
          * PAGE_BYTES;
    } catch (IOException unknown) {
      return 0;
    }
  }
}
