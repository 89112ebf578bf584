package dev.forgemesh;

import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.core.json.JsonWriteFeature;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.MapperFeature;
import tools.jackson.databind.cfg.MapperConfig;
import tools.jackson.databind.introspect.AnnotatedMember;
import tools.jackson.databind.introspect.AnnotatedParameter;
import tools.jackson.databind.introspect.JacksonAnnotationIntrospector;
import tools.jackson.databind.json.JsonMapper;

/**
 * How values are read from JSON and written as JSON.
 *
 * <p>Nothing is guessed: a text is no number, and 1.5 is no integer. Each component of a record has
 * to be there unless it is an {@link Optional}; keys that nothing takes are ignored, so that a
 * caller may be newer than a plugin.
 */
public final class Json {
  /** The mesh takes integers of about 4,000 digits. */
  private static final int LONGEST_NUMBER = 5000;

  private static final JsonMapper MAPPER =
      JsonMapper.builder(
              JsonFactory.builder()
                  .streamReadConstraints(
                      StreamReadConstraints.builder().maxNumberLength(LONGEST_NUMBER).build())
                  .build())
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
          .disable(JsonWriteFeature.WRITE_NAN_AS_STRINGS)
          .annotationIntrospector(new RequiredComponents())
          .build();

  private Json() {}

  /**
   * The mapper itself, for whoever wants to read or write by hand what the mesh reads and writes.
   */
  public static JsonMapper mapper() {
    return MAPPER;
  }

  /**
   * Says in a line what is wrong with a text or a value, and where: {@code $.readings[3].value:
   * ...}.
   */
  public static String placed(JacksonException wrong) {
    StringBuilder place = new StringBuilder("$");
    for (JacksonException.Reference one : wrong.getPath()) {
      if (one.getPropertyName() != null) {
        place.append('.').append(one.getPropertyName());
      } else {
        place.append('[').append(one.getIndex()).append(']');
      }
    }
    return place + ": " + wrong.getOriginalMessage();
  }

  private static final class RequiredComponents extends JacksonAnnotationIntrospector {
    @Override
    public Boolean hasRequiredMarker(MapperConfig<?> config, AnnotatedMember member) {
      if (member instanceof AnnotatedParameter component
          && component.getDeclaringClass().isRecord()) {
        return component.getRawType() != Optional.class;
      }
      return super.hasRequiredMarker(config, member);
    }
  }
}
