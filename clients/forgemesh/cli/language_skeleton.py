"""The files of a new plugin in another language than Python."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from forgemesh.cli.plugin_name import PluginName

_SECTION = Template("""\

# In $title. Its script builds it first; so after a change: forgemesh plugin reload $section
[plugins.$section]
command = ["$folder/$section/run.sh"]
start_timeout = "15m"
instances = 1
""")

_GO_RUN = Template("""\
#!/bin/sh
# Builds the plugin and becomes it, or stops there if it is called with "build". ForgeMesh's library is published
# nowhere: go.mod names the checkout that has it.
cd "$$(dirname "$$0")" || exit 1
[ -f go.sum ] || go mod tidy || exit 1
go build -o build/$section . || exit 1
[ "$$1" = build ] || exec build/$section
""")

_GO_MODULE = Template("""\
module plugins/$module

go 1.26.0

require forgemesh.dev/go v0.0.0

replace forgemesh.dev/go => "$library"
""")

_GO_PLUGIN = Template("""\
// Command $section is the plugin $plugin_id.
package main

import (
	"context"
	"strings"

	"forgemesh.dev/go/plugin"
)

type person struct {
	Name string `json:"name"`
}

type greeting struct {
	Text string `json:"text"`
}

// greet greets people; make something of your own of it.
func greet(_ context.Context, who person) (greeting, error) {
	if strings.TrimSpace(who.Name) == "" {
		return greeting{}, plugin.Fail("NAME_EMPTY", "there is nobody to greet; give a name")
	}
	return greeting{Text: "Hello, " + who.Name + "!"}, nil
}

func served() *plugin.Plugin {
	made := plugin.New("$plugin_id", "1.0.0")
	plugin.Operation(made, "greet", greet, plugin.Idempotent())
	return made
}

func main() { plugin.Main(served()) }
""")

_GO_TEST = Template("""\
package main

import (
	"errors"
	"testing"

	forgemesh "forgemesh.dev/go"
	"forgemesh.dev/go/plugintest"
)

func TestItGreetsByName(t *testing.T) {
	var said greeting
	if err := plugintest.Run(t, served()).Call(t.Context(), "greet", person{"Ada"}, &said); err != nil {
		t.Fatal(err)
	}

	if said.Text != "Hello, Ada!" {
		t.Errorf("it said %q", said.Text)
	}
}

func TestItGreetsNobody(t *testing.T) {
	err := plugintest.Run(t, served()).Call(t.Context(), "greet", person{" "}, nil)

	if !errors.Is(err, forgemesh.Reason("NAME_EMPTY")) {
		t.Errorf("got %v", err)
	}
}
""")

_JAVA_RUN = Template("""\
#!/bin/sh
# Builds the plugin and becomes it, or stops there if it is called with "build". ForgeMesh's library is published
# nowhere: it is built from the checkout below into a Maven repository here, anew if the folder `repository` is removed.
library=$quoted
cd "$$(dirname "$$0")" || exit 1
if [ ! -d repository ]; then
  mvn -q -B -f "$$library/pom.xml" -D style.color=never -D skipTests -D spotless.check.skip -pl api,sdk -am deploy \\
    -D altDeploymentRepository="forgemesh::file://$$PWD/making" && mv making repository || exit 1
fi
mvn -q -B -D style.color=never -D skipTests package || exit 1
[ "$$1" = build ] || exec java -cp "target/$section.jar:target/lib/*" plugins.$class_name
""")

_JAVA_PROJECT = Template("""\
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://maven.apache.org/POM/4.0.0 http://maven.apache.org/xsd/maven-4.0.0.xsd">
  <modelVersion>4.0.0</modelVersion>
  <groupId>plugins</groupId>
  <artifactId>$section</artifactId>
  <version>1.0.0</version>

  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>

  <repositories>
    <repository>
      <!-- run.sh builds the library into it, which is published nowhere. -->
      <id>forgemesh</id>
      <url>file://$${project.basedir}/repository</url>
      <snapshots>
        <updatePolicy>always</updatePolicy>
      </snapshots>
    </repository>
  </repositories>

  <dependencies>
    <dependency>
      <groupId>dev.forgemesh</groupId>
      <artifactId>forgemesh</artifactId>
      <version>0.1.0-SNAPSHOT</version>
    </dependency>
    <dependency>
      <groupId>org.junit.jupiter</groupId>
      <artifactId>junit-jupiter</artifactId>
      <version>6.1.3</version>
      <scope>test</scope>
    </dependency>
  </dependencies>

  <build>
    <finalName>$section</finalName>
    <plugins>
      <plugin>
        <artifactId>maven-compiler-plugin</artifactId>
        <version>3.14.0</version>
      </plugin>
      <plugin>
        <artifactId>maven-surefire-plugin</artifactId>
        <version>3.5.4</version>
      </plugin>
      <plugin>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>3.8.1</version>
        <executions>
          <execution>
            <phase>package</phase>
            <goals>
              <goal>copy-dependencies</goal>
            </goals>
            <configuration>
              <outputDirectory>$${project.build.directory}/lib</outputDirectory>
              <includeScope>runtime</includeScope>
            </configuration>
          </execution>
        </executions>
      </plugin>
    </plugins>
  </build>
</project>
""")

_JAVA_PLUGIN = Template("""\
package plugins;

import dev.forgemesh.FaultException;
import dev.forgemesh.plugin.Operation;
import dev.forgemesh.plugin.Plugin;
import dev.forgemesh.plugin.PluginHost;
import dev.forgemesh.plugin.Repeated;

/** Greets people; make something of your own of it. */
@Plugin(id = "$plugin_id", version = "1.0.0")
public final class $class_name {
  /** Whom to greet. */
  public record Person(String name) {}

  /** What is said. */
  public record Greeting(String text) {}

  @Operation(repeated = Repeated.HARMLESS, description = "A greeting for somebody.")
  public Greeting greet(Person who) {
    if (who.name().isBlank()) {
      throw FaultException.failed("NAME_EMPTY", "there is nobody to greet; give a name");
    }
    return new Greeting("Hello, " + who.name() + "!");
  }

  public static void main(String[] arguments) {
    PluginHost.run(new $class_name());
  }
}
""")

_JAVA_TEST = Template("""\
package plugins;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.forgemesh.FaultException;
import dev.forgemesh.plugintest.TestHost;
import org.junit.jupiter.api.Test;

class ${class_name}Test {
  @Test
  void itGreetsByName() {
    try (TestHost host = TestHost.serve(new $class_name())) {
      $class_name.Greeting said =
          host.call("greet", new $class_name.Person("Ada"), $class_name.Greeting.class);

      assertEquals("Hello, Ada!", said.text());
    }
  }

  @Test
  void itGreetsNobody() {
    FaultException fault =
        assertThrows(
            FaultException.class, () -> new $class_name().greet(new $class_name.Person(" ")));

    assertEquals("NAME_EMPTY", fault.reason());
  }
}
""")


@dataclass(frozen=True, slots=True)
class ForeignLanguage:
    """How a plugin in it is begun; `library` is the folder beside this package that has what it needs."""

    title: str
    library: str
    programs: tuple[str, ...]
    files: Callable[[str], Mapping[str, Template]]
    """By the path of the file in the plugin's folder, which may hold the name of its class."""
    built: tuple[str, ...]
    """What its builds leave in that folder."""


LANGUAGES: Mapping[str, ForeignLanguage] = {
    "go": ForeignLanguage(
        "Go",
        "go",
        ("go",),
        lambda _: {"go.mod": _GO_MODULE, "main.go": _GO_PLUGIN, "main_test.go": _GO_TEST, "run.sh": _GO_RUN},
        ("build/",),
    ),
    "java": ForeignLanguage(
        "Java",
        "java",
        ("javac", "mvn"),
        lambda class_name: {
            "pom.xml": _JAVA_PROJECT,
            f"src/main/java/plugins/{class_name}.java": _JAVA_PLUGIN,
            f"src/test/java/plugins/{class_name}Test.java": _JAVA_TEST,
            "run.sh": _JAVA_RUN,
        },
        ("target/", "repository/"),
    ),
}


def plugin_files(language: ForeignLanguage, name: PluginName, folder: str, library: Path) -> dict[str, str]:
    """Texts by the path of their file in the project's folder."""
    words = _words(language, name, folder) | {"library": str(library), "quoted": shlex.quote(str(library))}
    texts = {
        f"{folder}/{name.section}/{path}": text.substitute(words)
        for path, text in language.files(name.class_name).items()
    }
    return texts | {f"{folder}/{name.section}/.gitignore": "".join(f"/{built}\n" for built in language.built)}


def plugin_section(language: ForeignLanguage, name: PluginName, folder: str) -> str:
    """Its table in forgemesh.toml, after an empty line."""
    return _SECTION.substitute(_words(language, name, folder))


def _words(language: ForeignLanguage, name: PluginName, folder: str) -> dict[str, str]:
    return {
        "title": language.title,
        "plugin_id": name.plugin_id,
        "section": name.section,
        "module": name.module,
        "class_name": name.class_name,
        "folder": folder,
    }
