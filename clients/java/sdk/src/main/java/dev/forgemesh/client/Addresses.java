package dev.forgemesh.client;

import dev.forgemesh.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import tools.jackson.core.JacksonException;

/** Finds the mesh that is meant when nobody says one. */
final class Addresses {
  private static final String DEFAULT = "127.0.0.1:7401";

  private Addresses() {}

  /**
   * FORGEMESH_ADDRESS, the mesh whose data directory is nearest to the working directory, or
   * 127.0.0.1:7401.
   */
  static String find() {
    String said = System.getenv("FORGEMESH_ADDRESS");
    if (said != null && !said.isEmpty()) {
      return said;
    }
    for (Path folder = Path.of("").toAbsolutePath(); folder != null; folder = folder.getParent()) {
      String found = in(folder.resolve(".forgemesh").resolve("mesh.json"));
      if (!found.isEmpty()) {
        return found;
      }
    }
    return DEFAULT;
  }

  private static String in(Path file) {
    try {
      return Json.mapper()
          .readTree(Files.readAllBytes(file))
          .path("services")
          .path("orchestrator")
          .path("address")
          .asString("");
    } catch (IOException | JacksonException unreadable) {
      return "";
    }
  }
}
