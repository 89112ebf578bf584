"""What the readers of a document share: the compiler, the mistakes, and the checks that names and templates need."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from forgemesh.orchestrator.workflow.expressions.expression import Compiler, ExpressionMistake
from forgemesh.orchestrator.workflow.expressions.template import (
    Computed,
    Literal,
    Template,
    TemplateCompiler,
    compile_expression,
)
from forgemesh.orchestrator.workflow.parse.fields import Fields, Mistakes, Place, suggestion
from forgemesh.orchestrator.workflow.parse.name_scope import NameScope

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,63}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)
_NULL = Literal(None)


@dataclass(slots=True)
class Reading:
    """One document; `variables` are the names that its `vars` declare."""

    compiler: Compiler
    mistakes: Mistakes
    variables: frozenset[str] = frozenset()

    def template(self, fields: Fields, key: str, scope: NameScope, *, default: Template) -> Template:
        """The template at a key."""
        tree = fields.take(key)
        return default if tree is None else self.compiled(tree, (*fields.place, key), scope)

    def optional_template(self, fields: Fields, key: str, scope: NameScope) -> Template | None:
        """The template at a key; None if it is absent."""
        tree = fields.take(key)
        return None if tree is None else self.compiled(tree, (*fields.place, key), scope)

    def compiled(self, tree: object, place: Place, scope: NameScope) -> Template:
        """A template's tree, compiled."""
        compiler = TemplateCompiler(self.compiler, scope)
        template = compiler.compile(tree)
        for found in compiler.mistakes:
            self.mistakes.add((*place, *found.path), found.message, offset=found.offset)
        return template

    def condition(self, fields: Fields, key: str, scope: NameScope, *, required: bool) -> Computed | None:
        """The condition at a key."""
        source = fields.text(key, required=required)
        if not source and fields.tree.get(key) != "":
            return None
        try:
            return compile_expression(source, self.compiler, scope, boolean=True)
        except ExpressionMistake as error:
            self.mistakes.add((*fields.place, key), error.message, offset=error.offset_in(source))
            return None

    def never(self) -> Computed:
        """What stands for a condition that cannot be read, or is missing."""
        return compile_expression("false", self.compiler, (), boolean=True)

    def assignments(
        self, fields: Fields, key: str, see: Callable[[int], NameScope]
    ) -> tuple[tuple[str, Template], ...]:
        """Names and templates at a key; `see` says what the n-th of them may name."""
        found = fields.mapping(key)
        if found is None:
            return ()
        templates = []
        for index, name in enumerate(found.tree):
            self.check_identifier(name, (*found.place, name))
            templates.append((name, self.template(found, name, see(index), default=_NULL)))
        found.finish()
        return tuple(templates)

    def check_declared(self, names: list[str], place: Place) -> None:
        """Only declared variables can be set, so that every use of one is known to mean something."""
        for name in names:
            if name not in self.variables:
                hint = suggestion(name, self.variables) if self.variables else "; the definition declares none"
                self.mistakes.add((*place, name), f"variable {name!r} is not declared in `vars`{hint}")

    def check_identifier(self, name: str, place: Place) -> None:
        """Step ids, and the names of branches and variables."""
        if not IDENTIFIER.fullmatch(name) or name in RESERVED:
            self.mistakes.add(
                place,
                f"{name!r:.100} is not an identifier: lower-case letters, digits and _, at most 64, no reserved word",
            )

    def check_name(self, name: str, place: Place, *, wanted: bool) -> None:
        """Names of workflows and signals."""
        if wanted and not NAME.fullmatch(name):
            self.mistakes.add(place, f"{name!r:.100} is not 1 to 200 letters, digits, '.', '_' or '-'")
