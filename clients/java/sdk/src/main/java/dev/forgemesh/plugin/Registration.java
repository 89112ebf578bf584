package dev.forgemesh.plugin;

import com.google.protobuf.util.Durations;
import dev.forgemesh.FaultException;
import dev.forgemesh.api.plugin.v1.Manifest;
import dev.forgemesh.api.registry.v1.DeregisterInstanceRequest;
import dev.forgemesh.api.registry.v1.Instance;
import dev.forgemesh.api.registry.v1.PublishManifestRequest;
import dev.forgemesh.api.registry.v1.RegisterInstanceRequest;
import dev.forgemesh.api.registry.v1.RegistryServiceGrpc;
import dev.forgemesh.api.registry.v1.RegistryServiceGrpc.RegistryServiceBlockingStub;
import dev.forgemesh.api.registry.v1.RenewLeaseRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * Registers, renews every third of the lease and registers anew when the lease is lost. A registry
 * that is away or refuses is asked again with back-off and jitter, and what it says goes to the log
 * when it changes and every 30 s.
 */
final class Registration {
  private static final Duration DEADLINE = Duration.ofSeconds(5);
  private static final Duration FAREWELL = Duration.ofSeconds(1);
  private static final Duration LONGEST_BACKOFF = Duration.ofSeconds(2);
  private static final long REMINDER = TimeUnit.SECONDS.toNanos(30);
  private static final Set<String> LOST =
      Set.of("INSTANCE_OWNED_BY_OTHER", "LEASE_NOT_FOUND", "STALE_INCARNATION");
  private static final Set<Status.Code> FOR_GOOD =
      Set.of(
          Status.Code.INVALID_ARGUMENT, Status.Code.PERMISSION_DENIED, Status.Code.UNAUTHENTICATED);
  private static final System.Logger LOG = System.getLogger(Registration.class.getName());

  private final ManagedChannel channel;
  private final RegistryServiceBlockingStub registry;
  private final Manifest manifest;
  private final Instance instance;
  private final Identity identity;
  private final Settings settings;
  private final LoadMeter load;
  private final Runnable onIncarnation;
  private final CompletableFuture<Void> first = new CompletableFuture<>();
  private final CompletableFuture<FaultException> hopeless = new CompletableFuture<>();
  private final CountDownLatch closed = new CountDownLatch(1);
  private boolean isRegistered;
  private boolean isLeaving;
  private String reason = "";
  private long said;
  private Holder holder;

  private record Holder(long incarnation, long renewals) {}

  /** {@code onIncarnation} is told of each registration but the first. */
  Registration(
      Host host, Instance instance, LoadMeter load, Settings settings, Runnable onIncarnation) {
    this.channel =
        Grpc.newChannelBuilder(settings.registry(), InsecureChannelCredentials.create()).build();
    this.registry = RegistryServiceGrpc.newBlockingStub(channel);
    this.manifest = host.plugin().manifest();
    this.instance = instance;
    this.identity = host.identity();
    this.settings = settings;
    this.load = load;
    this.onIncarnation = onIncarnation;
    Host.daemons("registration").newThread(this::run).start();
  }

  /** Done with the first registration. */
  CompletableFuture<Void> first() {
    return first;
  }

  /** Done with a refusal that repeating does not mend. */
  CompletableFuture<FaultException> hopeless() {
    return hopeless;
  }

  private void run() {
    for (int failures = 0; ; ) {
      boolean registered;
      synchronized (this) {
        registered = isRegistered;
        if (!registered && isLeaving) {
          return;
        }
      }
      long pause;
      try {
        if (registered) {
          renew();
        } else {
          register();
        }
        failures = 0;
        pause =
            (long)
                (settings.leaseTtl().toNanos()
                    / 3
                    * ThreadLocalRandom.current().nextDouble(0.9, 1.1));
      } catch (StatusRuntimeException thrown) {
        note(FaultException.of(thrown));
        pause = Backoff.nanos(failures++, LONGEST_BACKOFF);
      }
      try {
        if (closed.await(pause, TimeUnit.NANOSECONDS)) {
          return;
        }
      } catch (InterruptedException ended) {
        return;
      }
    }
  }

  private void register() {
    RegistryServiceBlockingStub bounded =
        registry.withDeadlineAfter(DEADLINE.toMillis(), TimeUnit.MILLISECONDS);
    PublishManifestRequest publish =
        PublishManifestRequest.newBuilder()
            .setManifest(manifest)
            .setOwnerKey(settings.ownerKey())
            .setInstanceId(identity.instanceId())
            .build();
    bounded.publishManifest(publish);
    RegisterInstanceRequest request =
        RegisterInstanceRequest.newBuilder()
            .setInstance(instance)
            .setOwnerToken(settings.ownerToken())
            .setOwnerKey(settings.ownerKey())
            .setTtl(Durations.fromNanos(settings.leaseTtl().toNanos()))
            .build();
    long incarnation = bounded.registerInstance(request).getInstance().getIncarnation();
    identity.registered(incarnation);
    boolean leaving;
    synchronized (this) {
      isRegistered = true;
      reason = "";
      leaving = isLeaving;
    }
    LOG.log(
        Level.INFO,
        "registered, instance_id={0} incarnation={1}",
        identity.instanceId(),
        Long.toUnsignedString(incarnation));
    if (!first.complete(null)) {
      onIncarnation.run();
    }
    if (leaving) { // it was on its way when the host began to drain
      leave(true);
    }
  }

  private void renew() {
    Duration within = settings.leaseTtl().dividedBy(3);
    within = within.compareTo(DEADLINE) < 0 ? within : DEADLINE;
    RenewLeaseRequest request =
        RenewLeaseRequest.newBuilder()
            .setInstanceId(identity.instanceId())
            .setIncarnation(identity.incarnation())
            .setOwnerToken(settings.ownerToken())
            .setLoad(load.report())
            .build();
    registry.withDeadlineAfter(within.toMillis(), TimeUnit.MILLISECONDS).renewLease(request);
  }

  /**
   * Deregisters, or asks that no new calls be routed here. If the registry is away, the lease runs
   * out by itself.
   */
  void leave(boolean drain) {
    synchronized (this) {
      isLeaving = true;
      if (!isRegistered) {
        return;
      }
    }
    try {
      DeregisterInstanceRequest request =
          DeregisterInstanceRequest.newBuilder()
              .setInstanceId(identity.instanceId())
              .setIncarnation(identity.incarnation())
              .setOwnerToken(settings.ownerToken())
              .setDrain(drain)
              .build();
      registry
          .withDeadlineAfter(FAREWELL.toMillis(), TimeUnit.MILLISECONDS)
          .deregisterInstance(request);
    } catch (StatusRuntimeException thrown) {
      LOG.log(Level.WARNING, "the registry did not hear the farewell: {0}", thrown.getStatus());
    }
  }

  void close() {
    closed.countDown();
    channel.shutdownNow();
  }

  private synchronized void note(FaultException fault) {
    if (LOST.contains(fault.reason())) {
      isRegistered = false;
    }
    if (!isRegistered && isForGood(fault)) {
      hopeless.complete(fault);
    }
    boolean news =
        !fault.reason().equals(reason) || said == 0 || System.nanoTime() - said > REMINDER;
    if (news) {
      said = System.nanoTime();
      reason = fault.reason();
    }
    LOG.log(
        news ? Level.WARNING : Level.DEBUG,
        "cannot {0}, trying again: {1}",
        isRegistered ? "renew the lease" : "register",
        fault.getMessage());
  }

  /** Whether the same request meets the same refusal however often it is repeated. */
  private boolean isForGood(FaultException fault) {
    return switch (fault.reason()) {
      case "INSTANCE_OWNED_BY_OTHER" -> holderLives(fault.metadata());
      case "MANIFEST_CONFLICT" -> true;
      default -> FOR_GOOD.contains(fault.code());
    };
  }

  /**
   * Whether who holds the id has done something since it was last seen; one that is dead has left a
   * lease that will run out.
   */
  private boolean holderLives(Map<String, String> told) {
    Holder before = holder;
    try {
      holder =
          new Holder(
              Long.parseUnsignedLong(told.getOrDefault("incarnation", "")),
              Long.parseUnsignedLong(told.getOrDefault("renewals", "")));
    } catch (NumberFormatException unsaid) {
      return false;
    }
    if (before == null) {
      return false;
    }
    int newer = Long.compareUnsigned(holder.incarnation, before.incarnation);
    return newer > 0 || newer == 0 && Long.compareUnsigned(holder.renewals, before.renewals) > 0;
  }
}
