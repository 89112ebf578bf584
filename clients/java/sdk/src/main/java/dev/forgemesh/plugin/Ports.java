package dev.forgemesh.plugin;

import dev.forgemesh.api.plugin.v1.PluginServiceGrpc;
import io.grpc.Server;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The two ports that a host listens on: one for calls, one for health and load alone. */
final class Ports {
  private static final int MESSAGE_LIMIT = 4 << 20;

  /** The shortest time between two pings of a caller; the orchestrator pings every five seconds. */
  private static final int LEAST_PING_SECONDS = 4;

  private static final String LIVENESS = "liveness";
  private static final String STARTUP = "startup";

  /** The names under which health is asked for, beside liveness and startup. */
  private static final List<String> SERVING_NAMES =
      List.of("", "readiness", PluginServiceGrpc.SERVICE_NAME);

  private final HealthStatusManager health = new HealthStatusManager();
  private final Server calls;
  private final Server beside;
  private final String address;
  private final String healthAddress;

  Ports(Settings settings, PluginService service, LoadMeter load) throws IOException {
    calls =
        builder(settings.listen())
            .maxInboundMessageSize(MESSAGE_LIMIT)
            .addService(service)
            .addService(health.getHealthService())
            .addService(load.openRca())
            .addService(ProtoReflectionServiceV1.newInstance())
            .intercept(load.trailers())
            .build();
    beside =
        builder(settings.healthListen())
            .addService(health.getHealthService())
            .addService(load.openRca())
            .build();
    health.setStatus(LIVENESS, ServingStatus.SERVING);
    health.setStatus(STARTUP, ServingStatus.NOT_SERVING);
    ready(false);
    calls.start();
    try {
      beside.start();
    } catch (IOException refused) {
      calls.shutdownNow();
      throw refused;
    }
    address = reachable(settings.listen(), calls.getPort(), settings);
    healthAddress = reachable(settings.healthListen(), beside.getPort(), settings);
  }

  private static NettyServerBuilder builder(String listen) {
    return NettyServerBuilder.forAddress(Address.socket(listen))
        .permitKeepAliveTime(LEAST_PING_SECONDS, TimeUnit.SECONDS)
        .permitKeepAliveWithoutCalls(true);
  }

  private static String reachable(String listen, int port, Settings settings) {
    return Address.of(
        settings.advertise().isEmpty() ? Address.host(listen) : settings.advertise(), port);
  }

  /** host:port of calls, as others reach it. */
  String address() {
    return address;
  }

  /** host:port of health and load. */
  String healthAddress() {
    return healthAddress;
  }

  /** Says whether calls are to come here. */
  void ready(boolean yes) {
    ServingStatus status = yes ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    SERVING_NAMES.forEach(name -> health.setStatus(name, status));
    if (yes) { // and once for all
      health.setStatus(STARTUP, status);
    }
  }

  /** Lets the last answers leave, for so long at most. */
  void close(Duration within) throws InterruptedException {
    calls.shutdown();
    if (!calls.awaitTermination(within.toNanos(), TimeUnit.NANOSECONDS)) {
      calls.shutdownNow();
    }
    beside.shutdownNow();
    calls.awaitTermination(within.toNanos(), TimeUnit.NANOSECONDS);
  }
}
