package dev.forgemesh.plugin;

import com.github.victools.jsonschema.generator.Option;
import com.github.victools.jsonschema.generator.OptionPreset;
import com.github.victools.jsonschema.generator.SchemaGenerator;
import com.github.victools.jsonschema.generator.SchemaGeneratorConfigBuilder;
import com.github.victools.jsonschema.generator.SchemaVersion;
import com.github.victools.jsonschema.module.jackson.JacksonOption;
import com.github.victools.jsonschema.module.jackson.JacksonSchemaModule;
import dev.forgemesh.Json;
import dev.forgemesh.Payload;
import java.lang.reflect.Type;
import java.util.Optional;

/** JSON Schemas of Java types. */
final class Schemas {
  private Schemas() {}

  /** The schema of a value that is read or written; empty if it may be anything. */
  static String of(Type type) {
    return type == Payload.class || type == void.class || type == Void.class
        ? ""
        : text(type, false);
  }

  /** The schema of a configuration, in which a key that nothing takes is a mistake. */
  static String ofConfiguration(Type type) {
    return text(type, true);
  }

  private static String text(Type type, boolean closed) {
    SchemaGeneratorConfigBuilder builder =
        new SchemaGeneratorConfigBuilder(
                Json.mapper(), SchemaVersion.DRAFT_2020_12, OptionPreset.PLAIN_JSON)
            .with(new JacksonSchemaModule(JacksonOption.RESPECT_JSONPROPERTY_REQUIRED))
            .with(Option.FLATTENED_OPTIONALS)
            .without(Option.SCHEMA_VERSION_INDICATOR);
    if (closed) {
      builder.with(Option.FORBIDDEN_ADDITIONAL_PROPERTIES_BY_DEFAULT);
    }
    builder
        .forFields()
        .withRequiredCheck(
            field ->
                field.getMember().getDeclaringType().getErasedType().isRecord()
                    && field.getMember().getType().getErasedType() != Optional.class);
    String text = new SchemaGenerator(builder.build()).generateSchema(type).toString();
    return text.equals("{}") || text.equals("true") ? "" : text;
  }
}
