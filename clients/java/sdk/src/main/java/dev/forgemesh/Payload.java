package dev.forgemesh;

import com.google.protobuf.ByteString;
import java.util.Locale;
import java.util.Map;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.JavaType;

/**
 * A value that travels through the mesh byte for byte, as its producer wrote it.
 *
 * @param mediaType says how to read the data; empty means JSON
 * @param data the value itself
 * @param metadata small facts that are kept with the value
 */
public record Payload(String mediaType, ByteString data, Map<String, String> metadata) {
  /** The media type of a payload that names none. */
  public static final String JSON = "application/json";

  /** Metadata that nobody changes any more. */
  public Payload {
    metadata = Map.copyOf(metadata);
  }

  /** A payload without metadata. */
  public Payload(String mediaType, ByteString data) {
    this(mediaType, data, Map.of());
  }

  /** A payload of any value: a payload stays what it is, everything else becomes JSON. */
  public static Payload of(Object value) {
    return value instanceof Payload payload
        ? payload
        : new Payload(JSON, ByteString.copyFrom(Json.mapper().writeValueAsBytes(value)));
  }

  /** A payload of a text that is JSON already. */
  public static Payload ofJson(String text) {
    return new Payload(JSON, ByteString.copyFromUtf8(text));
  }

  /** Reads a payload that has travelled. */
  public static Payload of(dev.forgemesh.api.payload.v1.Payload message) {
    String type = message.getMediaType().isEmpty() ? JSON : message.getMediaType();
    return new Payload(type, message.getData(), message.getMetadataMap());
  }

  /** Whether it is JSON: {@code application/json}, or a type that ends in {@code +json}. */
  public boolean isJson() {
    int end = mediaType.indexOf(';');
    String type =
        (end < 0 ? mediaType : mediaType.substring(0, end)).strip().toLowerCase(Locale.ROOT);
    return type.isEmpty() || type.equals(JSON) || type.endsWith("+json");
  }

  /** Reads it as a value of a type; as a {@code Payload} it stays unread. */
  public <T> T as(Class<T> type) {
    return type == Payload.class ? type.cast(this) : as(Json.mapper().constructType(type));
  }

  /**
   * Reads it as a value of a type with arguments, such as {@code new TypeReference<List<Integer>>()
   * {}}.
   */
  public <T> T as(TypeReference<T> type) {
    return as(Json.mapper().constructType(type.getType()));
  }

  /** Reads it as a value of a type of Jackson's. */
  public <T> T as(JavaType type) {
    if (!isJson()) {
      throw new IllegalStateException(
          "a payload of type \"" + mediaType + "\" cannot be read as JSON");
    }
    return Json.mapper().readValue(data.toByteArray(), type);
  }

  /** How many bytes its type, its data and its metadata have. */
  public long size() {
    long size = (long) mediaType.length() + data.size();
    for (Map.Entry<String, String> fact : metadata.entrySet()) {
      size += (long) fact.getKey().length() + fact.getValue().length();
    }
    return size;
  }

  /** The payload as it travels. */
  public dev.forgemesh.api.payload.v1.Payload message() {
    return dev.forgemesh.api.payload.v1.Payload.newBuilder()
        .setMediaType(mediaType)
        .setData(data)
        .putAllMetadata(metadata)
        .build();
  }
}
