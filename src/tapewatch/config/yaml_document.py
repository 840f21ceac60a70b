"""Read a YAML 1.2 text safely into plain data, remembering where in the file each value stood.

The values are built here from the parser's events, so that nothing depends on which YAML schema a
library thinks best: a plain word is null, a boolean, a number or else text, by the core schema of
YAML 1.2 (``no`` and ``10:30`` are text, ``1e3`` is a number). Tags, duplicate keys, alias bombs,
oversized and overly deep documents are refused with line and column, all that can be found in one
pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from tapewatch.model.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 200_000
"""Values after aliases are expanded: what an alias bomb runs into."""
MAX_INT_DIGITS = 18
"""Longer integers do not fit 64 bits and are refused rather than rounded."""

YamlPath = tuple[str | int, ...]
"""Keys and list positions from the top of the document, for example ``("groups", 0, "name")``."""

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]{1,21}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NANS = frozenset((".nan", ".NaN", ".NAN"))
_MERGE = "<<"
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class _Scalar:
    line: int
    column: int
    text: str
    style: str
    """Empty for a plain scalar, else the sign that introduces it: one of ' " | >."""


@dataclass(frozen=True, slots=True)
class _List:
    line: int
    column: int
    items: list[_Node]


@dataclass(frozen=True, slots=True)
class _Map:
    line: int
    column: int
    entries: list[tuple[_Scalar, _Node]]


_Node = _Scalar | _List | _Map


class YamlDocument:
    """Plain data (dict with text keys, list, str, int, float, bool, None) and its places.

    All lines and columns are 1-based, as editors count.
    """

    def __init__(
        self,
        path: str,
        data: Any,
        lines: list[str],
        nodes: dict[YamlPath, _Node],
        keys: dict[YamlPath, _Scalar],
    ) -> None:
        self.path = path
        """The file, as the person named it."""
        self.data = data
        self._lines = lines
        self._nodes = nodes
        self._keys = keys

    def position(self, path: YamlPath) -> tuple[int, int]:
        """Return line and column of a value; of the nearest container if the path is not there."""
        node = self._nearest(path)
        return node.line, node.column

    def key_position(self, path: YamlPath) -> tuple[int, int]:
        """Return line and column of the key that holds a value; of the value in a list."""
        key = self._keys.get(path)
        return (key.line, key.column) if key is not None else self.position(path)

    def inner_position(self, path: YamlPath, line: int, column: int) -> tuple[int, int]:
        """Return where in the file a place inside a text value stands.

        Args:
            path: A text value.
            line: 1-based line inside the text.
            column: 1-based column inside that line.

        Returns:
            The exact place for one-line texts and ``|`` blocks. Where folding or escapes make
            it unknowable, the start of the value.
        """
        node = self._nearest(path)
        start = node.line, node.column
        if not isinstance(node, _Scalar):
            return start
        if node.style == "|":
            return self._inside_block(node, line, column) or start
        quote = 1 if node.style else 0
        source = self._lines[node.line - 1][node.column - 1 + quote :]
        one_line = node.style != ">" and source.startswith(node.text) and "\n" not in node.text
        return (node.line, node.column + quote + column - 1) if one_line and line == 1 else start

    def text(self, path: YamlPath) -> str | None:
        """Return a scalar as it was written, before its type was judged; None for containers."""
        node = self._nodes.get(path)
        return node.text if isinstance(node, _Scalar) else None

    def problem(self, path: YamlPath, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem placed at a value, or at its key."""
        line, column = self.key_position(path) if at_key else self.position(path)
        return Problem(self.path, line, column, message)

    def _nearest(self, path: YamlPath) -> _Node:
        while path and path not in self._nodes:
            path = path[:-1]
        return self._nodes[path]

    def _inside_block(self, node: _Scalar, line: int, column: int) -> tuple[int, int] | None:
        row = node.line + line - 1
        text = node.text.split("\n")
        if row >= len(self._lines) or line > len(text):
            return None
        source = self._lines[row]
        indent = len(source) - len(text[line - 1])
        return (row + 1, indent + column) if source[indent:] == text[line - 1] else None


def read_yaml(text: str, path: str, problems: list[Problem] | None = None) -> YamlDocument:
    """Read one YAML document.

    Args:
        text: The file's content.
        path: Its name for error messages.
        problems: Takes what is wrong and yet leaves something to read, such as a key given twice;
            None raises it.

    Raises:
        ConfigError: With every problem found and its line and column.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(
            [Problem(path, 0, 0, f"the file is larger than {MAX_BYTES // 1024} KiB")],
            next_step="split rules into several files; a configuration names them below rules",
        )
    found: list[Problem] = []
    root = _Composer(path, found).compose(text)
    builder = _Builder(path, found)
    data = builder.build(root, ())
    found.sort(key=lambda p: (p.line, p.column))
    if found and problems is None:
        raise ConfigError(found)
    if problems is not None:
        problems += found
    return YamlDocument(path, data, _LINE_END.split(text), builder.nodes, builder.keys)


class _Composer:
    """Makes nodes out of the parser's events; anchors are resolved to shared nodes."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self._anchors: dict[str, _Node] = {}
        self._events: Iterator[Event] = iter(())

    def compose(self, text: str) -> _Node:
        root: _Node = _Scalar(1, 1, "", "")
        documents = 0
        try:
            self._events = YAML(typ="safe", pure=True).parse(text)
            for event in self._events:
                if not isinstance(event, DocumentStartEvent):
                    continue
                documents += 1
                if documents > 1:
                    self._note(event, "a second document begins here; expected one per file")
                    break
                root = self._node(next(self._events), depth=1)
        except MarkedYAMLError as error:
            raise ConfigError([_syntax_problem(self._path, error)]) from None
        except ReaderError as error:
            line, column = _place_in(text, int(error.position))
            message = f"the character U+{_code_point(error.character):04X} is not allowed in YAML"
            raise ConfigError([Problem(self._path, line, column, message)]) from None
        except YAMLError as error:
            raise ConfigError([Problem(self._path, 0, 0, f"not YAML: {error}")]) from None
        return root

    def _node(self, event: Event, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            line, column = _place(event)
            raise ConfigError(
                [Problem(self._path, line, column, f"nested deeper than {MAX_DEPTH} levels")]
            )
        line, column = _place(event)
        if isinstance(event, AliasEvent):
            known = self._anchors.get(event.anchor)
            if known is None:
                self._note(event, f"alias *{event.anchor} has no anchor &{event.anchor} before it")
                return _Scalar(line, column, "", "'")
            return known
        tag = getattr(event, "ctag", None)
        if tag is not None:
            self._note(event, f"the tag {tag} is not accepted; write the plain value")
        node: _Node
        if isinstance(event, ScalarEvent):
            plain = bool(event.implicit[0]) and not event.style
            node = _Scalar(line, column, str(event.value), "" if plain else event.style or "'")
        elif isinstance(event, SequenceStartEvent):
            node = _List(line, column, [])
            while not isinstance(inner := next(self._events), SequenceEndEvent):
                node.items.append(self._node(inner, depth + 1))
        else:
            node = _Map(line, column, self._entries(event, depth))
        # Known only when complete, so an alias to its own container is an unknown alias.
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _entries(self, start: Event, depth: int) -> list[tuple[_Scalar, _Node]]:
        assert isinstance(start, MappingStartEvent)  # noqa: S101 - the event grammar
        entries: list[tuple[_Scalar, _Node]] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if isinstance(key, _Scalar):
                entries.append((key, value))
            else:
                self._note(event, "a key must be text, found a list or mapping")
        return entries

    def _note(self, event: Event, message: str) -> None:
        self._problems.append(Problem(self._path, *_place(event), message))


class _Builder:
    """Makes plain data out of nodes, and the index from paths to places."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self.nodes: dict[YamlPath, _Node] = {}
        self.keys: dict[YamlPath, _Scalar] = {}

    def build(self, node: _Node, path: YamlPath) -> Any:
        if len(self.nodes) >= MAX_NODES:
            self._refuse(node, f"more than {MAX_NODES} values once aliases are expanded")
        if len(path) > MAX_DEPTH:
            self._refuse(node, f"nested deeper than {MAX_DEPTH} levels once aliases are expanded")
        self.nodes[path] = node
        if isinstance(node, _Scalar):
            return self._value(node)
        if isinstance(node, _List):
            return [self.build(item, (*path, i)) for i, item in enumerate(node.items)]
        out: dict[str, Any] = {}
        for key, value in self._merged(node):
            if key.text not in out:
                inner = (*path, key.text)
                self.keys[inner] = key
                out[key.text] = self.build(value, inner)
        return out

    def _merged(self, node: _Map) -> Iterator[tuple[_Scalar, _Node]]:
        """Yield own entries, then those merged by ``<<`` in the order that gives precedence."""
        seen: dict[str, _Scalar] = {}
        merges: list[tuple[_Scalar, _Node]] = []
        for key, value in node.entries:
            earlier = seen.setdefault(key.text, key)
            if earlier is not key:
                self._problem(
                    key,
                    f"duplicate key {key.text!r}, first given on line {earlier.line}; keep one",
                )
            elif key.text == _MERGE and not key.style:
                merges.append((key, value))
            else:
                yield key, value
        for key, value in merges:
            for source in value.items if isinstance(value, _List) else [value]:
                if isinstance(source, _Map):
                    yield from self._merged(source)
                else:
                    self._problem(key, "<< merges a mapping or a list of mappings, found a value")

    def _value(self, node: _Scalar) -> str | int | float | bool | None:
        text = node.text
        if node.style:
            return text
        if text in _NULLS:
            return None
        if text in _BOOLS:
            return _BOOLS[text]
        if _INT.fullmatch(text):
            if len(text.lstrip("+-")) > MAX_INT_DIGITS:
                self._problem(
                    node, f"an integer of more than {MAX_INT_DIGITS} digits; quote it if it is text"
                )
                return 0
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
            return int(text, 0)
        infinite = _INFINITY.fullmatch(text)
        if infinite:
            return -math.inf if infinite[1] == "-" else math.inf
        return math.nan if text in _NANS else text

    def _problem(self, node: _Node, message: str) -> None:
        self._problems.append(Problem(self._path, node.line, node.column, message))

    def _refuse(self, node: _Node, message: str) -> None:
        raise ConfigError([Problem(self._path, node.line, node.column, message)])


def _place(event: Event) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _place_in(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def _code_point(character: str | int) -> int:
    return character if isinstance(character, int) else ord(character)


def _syntax_problem(path: str, error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = ": ".join(str(part) for part in (error.context, error.problem) if part)
    line, column = (mark.line + 1, mark.column + 1) if isinstance(mark, StringMark) else (0, 0)
    return Problem(path, line, column, f"not valid YAML: {what}")
