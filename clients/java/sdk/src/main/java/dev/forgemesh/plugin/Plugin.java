package dev.forgemesh.plugin;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Makes a class a plugin. It may also be {@link Configurable}, {@link Stateful} and {@link
 * Startable}; one that is {@link AutoCloseable} is closed after its last call.
 */
@Documented
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.TYPE)
public @interface Plugin {
  /** A dotted lower-case name, unique in the mesh. */
  String id();

  /** SemVer. What was published under a version does not change any more. */
  String version();

  /** A sentence for people. */
  String description() default "";

  /** The interfaces that it fulfils, each as {@code name@version}. */
  String[] provides() default {};

  /** What it needs. */
  Requires[] requires() default {};

  /** How many calls one instance runs at a time. More wait in its queue. */
  int maxConcurrency() default 16;

  /** Published for the selection of a provider: a higher one is preferred. */
  int priority() default 0;

  /** The share of traffic relative to other instances; 0 means 1. */
  int weight() default 0;

  /** Facts for people and programs, each as {@code key=value}. */
  String[] metadata() default {};
}
