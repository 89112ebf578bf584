package dev.forgemesh.plugin;

import java.math.BigInteger;
import java.util.Optional;

/** A plugin that gives back what it gets. */
@Plugin(id = "test.numbers", version = "1.0.0", maxConcurrency = 4)
public class Numbers {
  /** A number, and perhaps a larger one. */
  public record Pair(long value, Optional<BigInteger> large) {}

  @Operation
  public Pair echo(Pair in) {
    return in;
  }
}
