"""Annotation templates: the part of Go's text/template that rule files use, safe to expand.

A template sees the alert's labels and value and nothing else: no query, no object, no loop, so
its cost is bounded by its length. ``range``, ``define`` and functions that run queries are
*unsupported*: they parse, so that a rule file made for Prometheus loads, and fail when expanded;
the caller then shows the raw text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapewatch.rules.go_format import Value, format_value
from tapewatch.rules.template_functions import FUNCTIONS, UNSUPPORTED, TemplateError, is_true

MAX_OUTPUT = 16 * 1024
MAX_DEPTH = 32
"""Nesting of ``if`` blocks and of parentheses."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<number>[-+]?(?:0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))
    | (?P<path>\$?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*
        |\$?(?:\.[A-Za-z_][A-Za-z0-9_]*)+|\.|\$)
    | (?P<sign>:=|[|(),=])
    )""",
    re.VERBOSE,
)
_UNSUPPORTED_WORDS = frozenset(("range", "define", "template", "block", "break", "continue"))


class TemplateSyntaxError(TemplateError):
    """The text is no template; Prometheus refuses it too."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class _Path:
    """A variable or field such as ``$labels.engine``, ``.Value`` or ``$x``."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: tuple[_Operand, ...]


@dataclass(frozen=True, slots=True)
class _Pipeline:
    commands: tuple[_Operand, ...]
    variable: str = ""
    """Set when the pipeline is ``$x := ...``: it prints nothing."""


_Operand = _Literal | _Path | _Call | _Pipeline


@dataclass(frozen=True, slots=True)
class _If:
    branches: tuple[tuple[_Pipeline | None, tuple[_Node, ...]], ...]
    """Condition and body in order; a condition of None is ``else``."""
    sets_dot: bool = False
    """True for ``with``: the body sees the condition's value as ``.``."""


_Node = str | _Pipeline | _If


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    nodes: tuple[_Node, ...]
    unsupported: str = ""
    """What in it cannot be expanded here, if anything."""

    @property
    def uses_value(self) -> bool:
        """True when the text may depend on the alert's value."""
        return "{{" in self.text and "alue" in self.text

    @property
    def is_plain(self) -> bool:
        """True when it expands to itself whatever the alert."""
        return "{{" not in self.text

    def expand(self, labels: Mapping[str, str], value: float) -> str:
        """Return the text for one alert.

        Args:
            labels: Labels of the result that raised the alert.
            value: Its value.

        Raises:
            TemplateError: It cannot be expanded; show ``text`` instead.
        """
        if self.is_plain:
            return self.text[:MAX_OUTPUT]
        if self.unsupported:
            raise TemplateError(f"{self.unsupported} is not supported")
        out = _Expansion(dict(labels), value)
        out.run(self.nodes)
        return "".join(out.parts)


def parse_template(text: str) -> Template:
    """Parse a template.

    Raises:
        TemplateSyntaxError: It is no template; the message quotes the place.
    """
    if "{{" not in text:
        return Template(text, (text,))
    parser = _Parser(text)
    nodes = parser.parse()
    return Template(text, nodes, parser.unsupported)


class _Parser:
    def __init__(self, text: str) -> None:
        self._pieces = _split(text)
        self._at = 0
        self._depth = 0
        self.unsupported = ""

    def parse(self) -> tuple[_Node, ...]:
        return self._body(())[0]

    def _body(self, enders: tuple[str, ...]) -> tuple[tuple[_Node, ...], str]:
        """Parse up to one of the words in ``enders``; return the nodes and the action there."""
        nodes: list[_Node] = []
        while self._at < len(self._pieces):
            is_action, text = self._pieces[self._at]
            self._at += 1
            if not is_action:
                nodes.append(text)
                continue
            word = text.split(None, 1)[0] if text.split() else ""
            if word in ("end", "else"):
                if word in enders:
                    return tuple(nodes), text
                raise TemplateSyntaxError(f"unexpected {{{{{text}}}}}")
            if word in ("if", "with", "range"):
                nodes.append(self._block(word, text[len(word) :]))
            elif word in _UNSUPPORTED_WORDS:
                self.unsupported = self.unsupported or word
                if word in ("define", "block"):
                    self._body(("end",))
            else:
                nodes.append(self._pipeline(text))
        if enders:
            raise TemplateSyntaxError("a block is not closed; add {{ end }}")
        return tuple(nodes), ""

    def _block(self, word: str, condition: str) -> _If:
        branches: list[tuple[_Pipeline | None, tuple[_Node, ...]]] = []
        test: _Pipeline | None = self._condition(word, condition)
        while True:
            body, ender = self._nested()
            branches.append((test, body))
            rest = ender.split(None, 2)[1:]
            if ender.split()[0] == "end":
                return _If(tuple(branches), word == "with")
            if test is None:
                raise TemplateSyntaxError(
                    f"expected {{{{end}}}} after {{{{else}}}}, found {ender!r}"
                )
            if rest and rest[0] != word:
                raise TemplateSyntaxError(f"expected {{{{else {word} ...}}}}, found {ender!r}")
            test = self._condition(word, " ".join(rest[1:])) if rest else None

    def _condition(self, word: str, text: str) -> _Pipeline:
        if word == "range":
            # It may be written in ways that nothing else is; only the block's extent matters.
            self.unsupported = self.unsupported or word
            return _Pipeline((_Literal(value=False),))
        return self._pipeline(text)

    def _nested(self) -> tuple[tuple[_Node, ...], str]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateSyntaxError(f"blocks nested deeper than {MAX_DEPTH}")
        found = self._body(("end", "else"))
        self._depth -= 1
        return found

    def _pipeline(self, text: str) -> _Pipeline:
        tokens = _tokens(text)
        variable = ""
        if len(tokens) > 1 and tokens[1].text in (":=", "=") and tokens[0].text.startswith("$"):
            variable = tokens[0].text
            tokens = tokens[2:]
        reader = _PipelineReader(tokens, text)
        pipeline = reader.pipeline(0)
        reader.expect_end()
        self.unsupported = self.unsupported or reader.unsupported
        return _Pipeline(pipeline.commands, variable)


class _PipelineReader:
    """Recursive descent over the tokens of one action."""

    def __init__(self, tokens: list[_Token], text: str) -> None:
        self._tokens = tokens
        self._at = 0
        self._text = text.strip()
        self.unsupported = ""

    def expect_end(self) -> None:
        if self._at < len(self._tokens):
            raise self._error(f"unexpected {self._tokens[self._at].text!r}")

    def pipeline(self, depth: int) -> _Pipeline:
        if depth > MAX_DEPTH:
            raise self._error(f"parentheses nested deeper than {MAX_DEPTH}")
        commands = [self._command(depth)]
        while self._take("|"):
            commands.append(self._command(depth))
            if not isinstance(commands[-1], _Call):
                raise self._error("what follows a | must be a function")
        return _Pipeline(tuple(commands))

    def _command(self, depth: int) -> _Operand:
        operands: list[_Operand] = []
        name = ""
        while self._at < len(self._tokens) and self._tokens[self._at].text not in ("|", ")"):
            token = self._tokens[self._at]
            self._at += 1
            if token.text == "(":
                operands.append(self.pipeline(depth + 1))
                if not self._take(")"):
                    raise self._error("a parenthesis is not closed")
            elif token.kind == "string":
                operands.append(_Literal(_unquote(token.text)))
            elif token.kind == "number":
                operands.append(_Literal(_number(token.text)))
            elif token.kind != "path":
                raise self._error(f"unexpected {token.text!r}")
            elif token.text in ("true", "false"):
                operands.append(_Literal(token.text == "true"))
            elif token.text[0] in "$.":
                operands.append(_Path(_parts(token.text)))
            elif not operands and not name:
                name = token.text
                self._check_function(name)
            else:
                self._check_function(token.text)
                operands.append(_Call(token.text, ()))
        if name:
            return _Call(name, tuple(operands))
        if not operands:
            raise self._error("a value is missing")
        if len(operands) > 1:
            raise self._error("a value cannot be called; expected a function first")
        return operands[0]

    def _check_function(self, name: str) -> None:
        if name in UNSUPPORTED:
            self.unsupported = self.unsupported or f"function {name}"
        elif name not in FUNCTIONS:
            raise self._error(f"function {name!r} is not defined")

    def _take(self, sign: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at].text == sign:
            self._at += 1
            return True
        return False

    def _error(self, message: str) -> TemplateSyntaxError:
        return TemplateSyntaxError(f"{message} in {{{{ {self._text} }}}}")


class _Expansion:
    """One run of a template over one alert."""

    def __init__(self, labels: dict[str, str], value: float) -> None:
        self.parts: list[str] = []
        self._size = 0
        self._variables: dict[str, Value] = {
            "$labels": labels, "$value": value, "$externalLabels": {}, "$externalURL": ""
        }  # fmt: skip
        self._fields: dict[str, Value] = {
            "Labels": labels, "Value": value, "ExternalLabels": {}, "ExternalURL": ""
        }  # fmt: skip
        self._dots: list[Value] = []

    def run(self, nodes: Sequence[_Node]) -> None:
        for node in nodes:
            if isinstance(node, str):
                self._write(node)
            elif isinstance(node, _If):
                self._branch(node)
            elif node.variable:
                self._variables[node.variable] = self._value(node)
            else:
                self._write(format_value(self._value(node)))

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(f"the text is longer than {MAX_OUTPUT} characters")
        self.parts.append(text)

    def _branch(self, node: _If) -> None:
        for test, body in node.branches:
            value = True if test is None else self._value(test)
            if test is not None and test.variable:
                self._variables[test.variable] = value
            if is_true(value):
                if node.sets_dot and test is not None:
                    self._dots.append(value)
                    self.run(body)
                    self._dots.pop()
                else:
                    self.run(body)
                return

    def _value(self, operand: _Operand, *piped: Value) -> Value:
        if isinstance(operand, _Literal):
            return operand.value
        if isinstance(operand, _Path):
            return self._resolve(operand.parts)
        if isinstance(operand, _Call):
            return self._call(operand, piped)
        result: Value = None
        for index, command in enumerate(operand.commands):
            result = self._value(command, result) if index else self._value(command)
        return result

    def _call(self, call: _Call, piped: tuple[Value, ...]) -> Value:
        function, fewest, most = FUNCTIONS[call.name]
        arguments = [*(self._value(a) for a in call.arguments), *piped]
        if len(arguments) < fewest or (most is not None and len(arguments) > most):
            wanted = f"{fewest}" if fewest == most else f"at least {fewest}"
            raise TemplateError(f"{call.name} takes {wanted} arguments, found {len(arguments)}")
        return function(*arguments)

    def _resolve(self, parts: tuple[str, ...]) -> Value:
        head, *rest = parts
        value: Value
        if head.startswith("$") and len(head) > 1:
            if head not in self._variables:
                raise TemplateError(f"undefined variable {head}")
            value = self._variables[head]
        elif head == "" and self._dots:
            value = self._dots[-1]
        elif not rest:
            return None
        else:
            name, *rest = rest
            if name not in self._fields:
                raise TemplateError(f"there is no field .{name}")
            value = self._fields[name]
        for name in rest:
            if not isinstance(value, dict):
                raise TemplateError(f"{format_value(value)!r} has no field {name!r}")
            value = value.get(name, "")
        return value


def _split(text: str) -> list[tuple[bool, str]]:
    """Return (is action, text) pieces with trim markers applied and comments removed."""
    pieces: list[tuple[bool, str]] = []
    at = 0
    trim_next = False
    while (start := text.find("{{", at)) >= 0:
        end = _action_end(text, start + 2)
        plain, body = text[at:start], text[start + 2 : end]
        if trim_next:
            plain = plain.lstrip()
        if body.startswith("-") and body[1:2].isspace():
            plain, body = plain.rstrip(), body[1:]
        trim_next = body.endswith("-") and body[-2:-1].isspace()
        if trim_next:
            body = body[:-1]
        if plain:
            pieces.append((False, plain))
        body = body.strip()
        if not (body.startswith("/*") and body.endswith("*/")):
            pieces.append((True, body))
        at = end + 2
    rest = text[at:].lstrip() if trim_next else text[at:]
    if rest:
        pieces.append((False, rest))
    return pieces


def _action_end(text: str, at: int) -> int:
    """Return where the action's closing braces stand; those inside quotes do not count."""
    quote = ""
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\" and quote == '"':
                at += 1
            elif char == quote:
                quote = ""
        elif text.startswith("}}", at):
            return at
        elif text.startswith("/*", at):
            closed = text.find("*/", at)
            at = closed + 1 if closed >= 0 else len(text)
        elif char in '"`':
            quote = char
        at += 1
    raise TemplateSyntaxError("an action is not closed; add }}")


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise TemplateSyntaxError(
                f"unexpected {text[at:].strip()[:1]!r} in {{{{ {text.strip()} }}}}"
            )
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind]))
        at = match.end()
    return tokens


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split(".")) if path != "." else ("",)


def _number(text: str) -> float | int:
    try:
        return int(text, 0)
    except ValueError:
        return float(text)


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        return str(json.loads(text.replace("\\'", "'"), strict=False))
    except ValueError:
        raise TemplateSyntaxError(f"bad escape in {text}") from None
