package dev.forgemesh.plugin;

import com.google.protobuf.Duration;
import dev.forgemesh.Json;
import dev.forgemesh.Payload;
import dev.forgemesh.api.plugin.v1.Dependency;
import dev.forgemesh.api.plugin.v1.Interface;
import dev.forgemesh.api.plugin.v1.Manifest;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JavaType;

/** A plugin as its annotations say it: its manifest, and its operations by name. */
final class Description {
  private static final Pattern PLUGIN_ID =
      Pattern.compile("[a-z][a-z0-9_-]*(\\.[a-z0-9][a-z0-9_-]*)*");
  private static final Pattern OPERATION_NAME = Pattern.compile("[A-Za-z_][A-Za-z0-9_]{0,63}");
  private static final Pattern SEMVER =
      Pattern.compile("(0|[1-9]\\d*)(\\.(0|[1-9]\\d*)){2}(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?");
  private static final double NANOS = 1e9;

  private final Object plugin;
  private final Manifest manifest;
  private final Map<String, Described> operations;
  private final JavaType configuration;

  /** An input or an output that does not fit the types of its operation. */
  static final class MisfitException extends Exception {
    private final boolean ofOutput;

    MisfitException(boolean ofOutput, String what) {
      super(what);
      this.ofOutput = ofOutput;
    }

    boolean isOfOutput() {
      return ofOutput;
    }
  }

  /** One operation: how it is published, and how it is run. */
  record Described(
      dev.forgemesh.api.plugin.v1.Operation published,
      Object plugin,
      Method method,
      int input,
      JavaType type) {
    Payload run(Payload given, Call call) throws Throwable {
      Object[] arguments = new Object[method.getParameterCount()];
      for (int at = 0; at < arguments.length; at++) {
        arguments[at] = at == input ? read(given) : call;
      }
      try {
        return written(method.invoke(plugin, arguments));
      } catch (InvocationTargetException thrown) {
        throw thrown.getCause();
      }
    }

    private Object read(Payload given) throws MisfitException {
      if (type.getRawClass() == Payload.class) {
        return given;
      }
      try {
        return (given.data().isEmpty() ? Payload.ofJson("{}") : given).as(type);
      } catch (JacksonException unfit) {
        throw new MisfitException(false, Json.placed(unfit));
      } catch (IllegalStateException noJson) {
        throw new MisfitException(false, noJson.getMessage());
      }
    }

    private static Payload written(Object value) throws MisfitException {
      try {
        return Payload.of(value);
      } catch (JacksonException unfit) {
        throw new MisfitException(true, Json.placed(unfit));
      }
    }
  }

  private Description(
      Object plugin, Manifest manifest, Map<String, Described> operations, JavaType configuration) {
    this.plugin = plugin;
    this.manifest = manifest;
    this.operations = operations;
    this.configuration = configuration;
  }

  /** Reads the annotations; all mistakes in them are told together. */
  static Description of(Object plugin) {
    Class<?> type = plugin.getClass();
    Plugin said = type.getAnnotation(Plugin.class);
    if (said == null) {
      throw new IllegalArgumentException(
          type.getName() + " has no @Plugin(id = ..., version = ...)");
    }
    List<String> mistakes = new ArrayList<>();
    if (!PLUGIN_ID.matcher(said.id()).matches()) {
      mistakes.add(
          "the id \"" + said.id() + "\" is no dotted lower-case name like \"weather.stats\"");
    }
    if (!SEMVER.matcher(said.version()).matches()) {
      mistakes.add("the version \"" + said.version() + "\" is not SemVer like \"1.2.0\"");
    }
    if (said.maxConcurrency() < 1) {
      mistakes.add("maxConcurrency = " + said.maxConcurrency() + " would run nothing");
    }
    Manifest.Builder manifest =
        Manifest.newBuilder()
            .setPluginId(said.id())
            .setVersion(said.version())
            .setDescription(said.description())
            .setMaxConcurrency(said.maxConcurrency())
            .setPriority(said.priority())
            .setWeight(said.weight());
    for (String provided : said.provides()) {
      String[] parts = parts(provided, "@", "provides", mistakes);
      manifest.addProvides(Interface.newBuilder().setName(parts[0]).setVersion(parts[1]));
    }
    for (String fact : said.metadata()) {
      String[] parts = parts(fact, "=", "metadata", mistakes);
      manifest.putMetadata(parts[0], parts[1]);
    }
    for (Requires required : said.requires()) {
      manifest.addDependencies(dependency(required, mistakes));
    }
    Map<String, Described> operations = operations(plugin, mistakes);
    operations.values().forEach(operation -> manifest.addOperations(operation.published()));
    JavaType configuration = configuration(plugin);
    if (configuration != null) {
      manifest.setConfigSchema(Schemas.ofConfiguration(configuration.getRawClass()));
    }
    if (!mistakes.isEmpty()) {
      throw new IllegalArgumentException(
          "plugin " + said.id() + ":\n  " + String.join("\n  ", mistakes));
    }
    return new Description(plugin, manifest.build(), operations, configuration);
  }

  private static String[] parts(
      String text, String separator, String where, List<String> mistakes) {
    String[] parts = text.split(separator, 2);
    if (parts.length == 2 && !parts[0].isEmpty() && !parts[1].isEmpty()) {
      return parts;
    }
    mistakes.add("%s = \"%s\" has no %s between two words".formatted(where, text, separator));
    return new String[] {text, ""};
  }

  private static Dependency dependency(Requires required, List<String> mistakes) {
    if (required.plugin().isEmpty() == required.provider().isEmpty()) {
      mistakes.add("@Requires names either a plugin or a provider of an interface");
    }
    Dependency.Builder dependency =
        Dependency.newBuilder()
            .setVersionRange(required.versions())
            .setOptional(required.optional())
            .setOnLoss(required.onLoss());
    return (required.plugin().isEmpty()
            ? dependency.setInterfaceName(required.provider())
            : dependency.setPluginId(required.plugin()))
        .build();
  }

  private static Map<String, Described> operations(Object plugin, List<String> mistakes) {
    Map<String, Described> operations = new TreeMap<>();
    for (Class<?> type = plugin.getClass(); type != null; type = type.getSuperclass()) {
      for (Method method : type.getDeclaredMethods()) {
        Operation said = method.getAnnotation(Operation.class);
        if (said == null || method.isBridge()) {
          continue;
        }
        String name = said.name().isEmpty() ? method.getName() : said.name();
        try {
          if (operations.putIfAbsent(name, described(plugin, method, said, name)) != null) {
            mistakes.add("operation \"" + name + "\" is there twice");
          }
        } catch (IllegalArgumentException mistake) {
          mistakes.add("operation \"" + name + "\": " + mistake.getMessage());
        }
      }
    }
    if (operations.isEmpty() && mistakes.isEmpty()) {
      mistakes.add("it has no operation; a public method with @Operation is one");
    }
    return operations;
  }

  private static Described described(Object plugin, Method method, Operation said, String name) {
    if (!OPERATION_NAME.matcher(name).matches()) {
      throw new IllegalArgumentException(
          "a name has letters, digits and _, at most 64, and begins with no digit");
    }
    if (!Modifier.isPublic(method.getModifiers())) {
      throw new IllegalArgumentException("the method " + method.getName() + " is not public");
    }
    int input = -1;
    Type[] parameters = method.getGenericParameterTypes();
    for (int at = 0; at < parameters.length; at++) {
      if (parameters[at] == Call.class) {
        continue;
      }
      if (input >= 0) {
        throw new IllegalArgumentException("it has more than one input; make a record of them");
      }
      input = at;
    }
    method.setAccessible(true); // the class itself need not be public
    dev.forgemesh.api.plugin.v1.Operation.Builder published =
        dev.forgemesh.api.plugin.v1.Operation.newBuilder()
            .setName(name)
            .setDescription(said.description())
            .setIdempotency(said.repeated().published())
            .setCacheable(said.cacheable())
            .setInputSchema(or(said.inputSchema(), input < 0 ? "" : Schemas.of(parameters[input])))
            .setOutputSchema(or(said.outputSchema(), Schemas.of(method.getGenericReturnType())));
    if (said.timeoutSeconds() > 0) {
      long nanos = (long) (said.timeoutSeconds() * NANOS);
      published.setTimeout(
          Duration.newBuilder()
              .setSeconds(nanos / (long) NANOS)
              .setNanos((int) (nanos % (long) NANOS)));
    }
    JavaType type = input < 0 ? null : Json.mapper().constructType(parameters[input]);
    return new Described(published.build(), plugin, method, input, type);
  }

  private static String or(String said, String otherwise) {
    return said.isEmpty() ? otherwise : said;
  }

  private static JavaType configuration(Object plugin) {
    if (!(plugin instanceof Configurable)) {
      return null;
    }
    JavaType own = Json.mapper().constructType(plugin.getClass());
    return Json.mapper().getTypeFactory().findTypeParameters(own, Configurable.class)[0];
  }

  Object plugin() {
    return plugin;
  }

  Manifest manifest() {
    return manifest;
  }

  String id() {
    return manifest.getPluginId();
  }

  Map<String, Described> operations() {
    return operations;
  }

  /** Gives the plugin a configuration as JSON text; does nothing if it takes none. */
  @SuppressWarnings("unchecked")
  void configure(String text) throws Exception {
    if (plugin instanceof Configurable<?> configurable) {
      Object config;
      try {
        config = Json.mapper().readValue(text.isEmpty() ? "{}" : text, configuration);
      } catch (JacksonException unfit) {
        throw new IllegalArgumentException(Json.placed(unfit), unfit);
      }
      ((Configurable<Object>) configurable).configure(config);
    }
  }
}
