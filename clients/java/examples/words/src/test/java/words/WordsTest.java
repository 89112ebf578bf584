package words;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.forgemesh.FaultException;
import dev.forgemesh.plugin.Call;
import dev.forgemesh.plugintest.TestHost;
import org.junit.jupiter.api.Test;
import words.Words.Counted;
import words.Words.Text;

class WordsTest {
  @Test
  void wordsAreCounted() {
    try (TestHost host = TestHost.serve(new Words())) {
      assertEquals(
          new Counted(3, 13), host.call("count", new Text("so many words"), Counted.class));
    }
  }

  @Test
  void aTextWithoutWordsIsRefused() {
    try (TestHost host = TestHost.serve(new Words())) {
      FaultException fault =
          assertThrows(
              FaultException.class, () -> host.call("count", new Text(" "), Counted.class));

      assertEquals("TEXT_EMPTY", fault.reason());
    }
  }

  @Test
  void anOperationIsAMethod() {
    assertEquals(new Counted(1, 4), new Words().count(new Text("word"), Call.first()));
  }
}
