package dev.forgemesh.plugin;

import dev.forgemesh.api.plugin.v1.OnLoss;
import java.lang.annotation.Documented;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Something that a plugin needs: another plugin, or any provider of an interface. */
@Documented
@Retention(RetentionPolicy.RUNTIME)
@Target({})
public @interface Requires {
  /** The plugin's id; either this or an interface is said. */
  String plugin() default "";

  /** The interface's name. */
  String provider() default "";

  /** A SemVer range such as {@code ^1.2}; empty means any version. */
  String versions() default "";

  /** Whether the plugin also works, degraded, without it. */
  boolean optional() default false;

  /** What becomes of the plugin when it is lost later. */
  OnLoss onLoss() default OnLoss.ON_LOSS_UNSPECIFIED;
}
