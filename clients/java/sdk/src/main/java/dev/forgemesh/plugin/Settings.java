package dev.forgemesh.plugin;

import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;

/**
 * Where a host listens and whom it tells, as the variables FORGEMESH_HOST_* say it;
 * docs/operations.md lists them.
 *
 * @param listen host:port for calls
 * @param healthListen host:port for health and load alone
 * @param advertise the host name that others reach this one by; empty means the one it listens on
 * @param instanceId unique in the mesh
 * @param name the section of forgemesh.toml
 * @param tenure what successive processes have in common
 * @param registry host:port; empty means not to register
 * @param traces host:port; empty means to send no spans there
 * @param supervisor host:port, called back with the token; empty if there is none
 * @param token the secret that this process was started with
 * @param supervisorFile says where a successor of the supervisor is
 * @param reattach whether the host outlives its supervisor, and looks for a new one
 * @param reattachFor how long it looks
 * @param ownerToken lets a restarted process take over the registration of its predecessor
 * @param ownerKey that of the plugin
 * @param queue how many calls without a credit may wait
 * @param leaseTtl how long a registration lasts without renewal
 * @param grace what running calls have at the end
 * @param config the file of the plugin's configuration as JSON, for a host without a supervisor
 */
public record Settings(
    String listen,
    String healthListen,
    String advertise,
    String instanceId,
    String name,
    String tenure,
    String registry,
    String traces,
    String supervisor,
    String token,
    String supervisorFile,
    boolean reattach,
    Duration reattachFor,
    String ownerToken,
    String ownerKey,
    int queue,
    Duration leaseTtl,
    Duration grace,
    String config) {
  private static final String PREFIX = "FORGEMESH_HOST_";
  private static final double LONGEST_SECONDS = 86_400;
  private static final int LONGEST_LEASE = 600;

  /**
   * Reads the settings of a plugin out of an environment.
   *
   * @throws IllegalArgumentException with everything that is wrong
   */
  public static Settings of(Map<String, String> environment, String pluginId) {
    Reader reader = new Reader(environment);
    Settings settings =
        new Settings(
            reader.text("LISTEN", "127.0.0.1:0"),
            reader.text("HEALTH_LISTEN", "127.0.0.1:0"),
            reader.text("ADVERTISE", ""),
            reader.text("INSTANCE_ID", instanceId(pluginId)),
            reader.text("NAME", ""),
            reader.text("TENURE", ""),
            reader.text("REGISTRY", ""),
            reader.text("TRACES", ""),
            reader.text("SUPERVISOR", ""),
            reader.text("TOKEN", ""),
            reader.text("SUPERVISOR_FILE", ""),
            reader.truth("REATTACH"),
            reader.seconds("REATTACH_SECONDS", 30),
            reader.text("OWNER_TOKEN", UUID.randomUUID().toString()),
            reader.content("OWNER_KEY_FILE"),
            reader.number("QUEUE_LIMIT", 64),
            reader.seconds("LEASE_TTL", 15),
            reader.seconds("GRACE", 5),
            reader.text("CONFIG", ""));
    settings.check(reader);
    if (!reader.mistakes.isEmpty()) {
      throw new IllegalArgumentException(String.join("\n", reader.mistakes));
    }
    return settings;
  }

  private void check(Reader reader) {
    if (!supervisor.isEmpty() && (token.isEmpty() || reader.text("INSTANCE_ID", "").isEmpty())) {
      reader.mistakes.add(
          "supervisor = \"%s\" needs a token and an instance id beside it".formatted(supervisor));
    }
    if (!supervisor.isEmpty() && !config.isEmpty()) {
      reader.mistakes.add(
          "config = \"%s\" beside a supervisor, which gives the configuration itself"
              .formatted(config));
    }
    if (leaseTtl.toSeconds() < 1 || leaseTtl.toSeconds() > LONGEST_LEASE) {
      reader.mistakes.add("lease_ttl = %s is not between 1 and 600 seconds".formatted(leaseTtl));
    }
    boolean insecure = reader.truth("INSECURE");
    for (String address : List.of(listen, healthListen)) {
      String host = Address.host(address);
      if (host == null) {
        reader.mistakes.add("listen = \"%s\" is not host:port".formatted(address));
      } else if (!insecure && !isLoopback(host)) {
        reader.mistakes.add(
            "listen = \"%s\" is reached from beyond this machine, and nothing is encrypted there; set %sINSECURE=true if that is meant"
                .formatted(address, PREFIX));
      }
    }
  }

  private static boolean isLoopback(String host) {
    try {
      return !host.isEmpty() && InetAddress.getByName(host).isLoopbackAddress();
    } catch (UnknownHostException unknown) {
      return false;
    }
  }

  /**
   * What a host is called that nobody has named. The first process of a container has the number 1
   * everywhere; it is called as its machine is, which on Kubernetes is the name of the pod.
   */
  private static String instanceId(String plugin) {
    long number = ProcessHandle.current().pid();
    return number == 1 ? hostName() : plugin + "-" + number;
  }

  static String hostName() {
    try {
      return InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException nameless) {
      return "localhost";
    }
  }

  /** Reads one variable after the other, and keeps what is wrong. */
  private static final class Reader {
    private final Map<String, String> environment;
    private final List<String> mistakes = new ArrayList<>();

    Reader(Map<String, String> environment) {
      this.environment = environment;
    }

    String text(String name, String otherwise) {
      return environment.getOrDefault(PREFIX + name, otherwise);
    }

    boolean truth(String name) {
      String given = text(name, "");
      return switch (given.toLowerCase(Locale.ROOT)) {
        case "1", "true" -> true;
        case "", "0", "false" -> false;
        default -> {
          mistakes.add("%s%s = \"%s\" is neither true nor false".formatted(PREFIX, name, given));
          yield false;
        }
      };
    }

    Duration seconds(String name, double otherwise) {
      String given = text(name, "");
      double value = otherwise;
      try {
        value = given.isEmpty() ? otherwise : Double.parseDouble(given);
      } catch (NumberFormatException none) {
        value = Double.NaN;
      }
      if (!(value >= 0 && value <= LONGEST_SECONDS)) {
        mistakes.add(
            "%s%s = \"%s\" is not between 0 and 86400 seconds".formatted(PREFIX, name, given));
        value = otherwise;
      }
      return Duration.ofNanos((long) (value * 1e9));
    }

    int number(String name, int otherwise) {
      String given = text(name, "");
      try {
        int value = given.isEmpty() ? otherwise : Integer.parseInt(given);
        if (value >= 0) {
          return value;
        }
      } catch (NumberFormatException none) {
        // said below
      }
      mistakes.add("%s%s = \"%s\" is no number of calls".formatted(PREFIX, name, given));
      return otherwise;
    }

    String content(String name) {
      String file = text(name, "");
      try {
        return file.isEmpty() ? "" : Files.readString(Path.of(file)).strip();
      } catch (IOException unreadable) {
        mistakes.add("%s%s: cannot read %s".formatted(PREFIX, name, unreadable.getMessage()));
        return "";
      }
    }
  }
}
