package words;

import dev.forgemesh.FaultException;
import dev.forgemesh.plugin.Call;
import dev.forgemesh.plugin.Operation;
import dev.forgemesh.plugin.Plugin;
import dev.forgemesh.plugin.PluginHost;
import dev.forgemesh.plugin.Repeated;
import io.grpc.Status;
import java.util.Locale;

/** A plugin that looks at texts. */
@Plugin(
    id = "text.words",
    version = "1.0.0",
    description = "Looks at texts.",
    provides = "text.counter@1.0.0")
public final class Words {
  /** What every operation works on. */
  public record Text(String text) {}

  /** How long a text is. */
  public record Counted(int words, long characters) {}

  /** Counts the words. */
  @Operation(repeated = Repeated.HARMLESS, description = "How many words there are.")
  public Counted count(Text in, Call call) {
    if (in.text().isBlank()) {
      throw FaultException.failed("TEXT_EMPTY", "there are no words to count")
          .withCode(Status.Code.INVALID_ARGUMENT);
    }
    call.progress(0.5, "counting");
    return new Counted(
        in.text().strip().split("\\s+").length, in.text().codePointCount(0, in.text().length()));
  }

  /** Says it louder. */
  @Operation(repeated = Repeated.HARMLESS)
  public String shout(Text in) {
    return in.text().toUpperCase(Locale.ROOT);
  }

  public static void main(String[] arguments) {
    PluginHost.run(new Words());
  }
}
