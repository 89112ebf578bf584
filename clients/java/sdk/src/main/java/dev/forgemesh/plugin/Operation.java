package dev.forgemesh.plugin;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Makes a public method callable. It has at most one parameter for the input, and may have one of
 * type {@link Call}.
 *
 * <p>Input and output are read and written as {@link dev.forgemesh.Json} does, and their types give
 * the JSON Schemas of the manifest. A {@link dev.forgemesh.Payload} passes unread, so that protobuf
 * or images can travel.
 *
 * <p>A {@link dev.forgemesh.FaultException} that the method throws is its failure as it says; any
 * other exception is PLUGIN_EXCEPTION. When the call is taken back or its time is over, its thread
 * is interrupted and the current gRPC context is cancelled.
 */
@Documented
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface Operation {
  /** What workflows call it; the method's name if it is not said. */
  String name() default "";

  /** What it does, for people. */
  String description() default "";

  /** What a repetition does. */
  Repeated repeated() default Repeated.UNSAID;

  /** How long a call may take if its caller does not say; 0 means a minute. */
  double timeoutSeconds() default 0;

  /** Whether equal inputs give equal outputs. */
  boolean cacheable() default false;

  /** A JSON Schema (2020-12) in place of the one that follows from the type of the input. */
  String inputSchema() default "";

  /** A JSON Schema (2020-12) in place of the one that follows from the type of the output. */
  String outputSchema() default "";
}
