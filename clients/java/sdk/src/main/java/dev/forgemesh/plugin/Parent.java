package dev.forgemesh.plugin;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/** The process that has started this one, as far as it holds the other end of a pipe. */
final class Parent {
  static final int EXIT_ORPHANED = 3;
  static final Duration ORPHAN_LIMIT = Duration.ofMillis(1750);

  private Parent() {}

  /** Watches the pipe: when it breaks, this process is stopped, and ends soon, come what may. */
  static void onLoss(String descriptor, Runnable stop) {
    if (descriptor == null || !descriptor.matches("[1-9]\\d*")) {
      return;
    }
    Host.daemons("parent")
        .newThread(
            () -> {
              try (InputStream pipe = Files.newInputStream(Path.of("/dev/fd/" + descriptor))) {
                pipe.read();
              } catch (IOException broken) {
                // then it is gone as well
              }
              stop.run();
              endSoon();
            })
        .start();
  }

  /** Ends this process when it has had time for its last words. */
  static void endSoon() {
    Host.daemons("orphan")
        .newThread(
            () -> {
              try {
                Thread.sleep(ORPHAN_LIMIT.toMillis());
              } catch (InterruptedException hurried) {
                // at once, then
              }
              Runtime.getRuntime().halt(EXIT_ORPHANED);
            })
        .start();
  }
}
