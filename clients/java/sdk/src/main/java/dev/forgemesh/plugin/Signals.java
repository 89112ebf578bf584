package dev.forgemesh.plugin;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.List;

/**
 * The signals by which a process is asked to end. A shutdown hook would not do: it cannot tell them
 * from an operation that calls System.exit, and the process would end with 143.
 */
final class Signals {
  private Signals() {}

  /**
   * Uses sun.misc.Signal, which the module jdk.unsupported exports; by its name, since javac warns
   * of it in any case.
   */
  static void onEnd(Runnable stop) {
    try {
      Class<?> signal = Class.forName("sun.misc.Signal");
      Class<?> handler = Class.forName("sun.misc.SignalHandler");
      InvocationHandler told =
          (proxy, method, arguments) -> {
            stop.run();
            return null;
          };
      Object listener =
          Proxy.newProxyInstance(Signals.class.getClassLoader(), new Class<?>[] {handler}, told);
      for (String name : List.of("TERM", "INT")) {
        Object one = signal.getConstructor(String.class).newInstance(name);
        signal.getMethod("handle", signal, handler).invoke(null, one, listener);
      }
    } catch (ReflectiveOperationException otherJvm) {
      Runtime.getRuntime().addShutdownHook(new Thread(stop, "end"));
    }
  }
}
