"""Functions that rewrite labels: label_replace and label_join."""

from __future__ import annotations

import re
from typing import Any, cast

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import Labels
from tapewatch.promql.ast import is_label_name
from tapewatch.promql.functions.registry import STRING, VECTOR, Function, Invocation
from tapewatch.promql.printer import quote
from tapewatch.promql.values import Vector
from tapewatch.series.matching import compile_regex

_REFERENCE = re.compile(r"\$(?:\$|\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")


def expand(template: str, groups: dict[str, str]) -> str:
    """Fill a Go regular expression template: ``$1``, ``${1}``, ``$name``, ``$$`` for a dollar.

    The longest name counts (``$1x`` is the name ``1x``); an unknown one is empty.

    >>> expand("${1}x-$2", {"1": "a", "2": "b"})
    'ax-b'
    """

    def fill(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        return "$" if name is None else groups.get(name, "")

    return _REFERENCE.sub(fill, template)


def _groups(match: Any, names: dict[str, int]) -> dict[str, str]:
    found = {str(i): text or "" for i, text in enumerate((match.group(), *match.groups()))}
    found.update({name: found[str(index)] for name, index in names.items()})
    return found


def _relabelled(call: Invocation, vector: Vector, labels: list[Labels]) -> Vector:
    result = Vector(labels, vector.values, vector.present, ordered=vector.ordered)
    return call.evaluation.unite(call.node, result, strict=True)


def _label_replace(call: Invocation) -> Vector:
    evaluation, node = call.evaluation, call.node
    target, template, source, pattern = cast("list[str]", list(call.args[1:]))
    try:
        regex = compile_regex(pattern)
    except QueryError:
        evaluation.fail(node, f"invalid regular expression in label_replace(): {pattern}")
    if not is_label_name(target):
        evaluation.fail(
            node, f"invalid destination label name in label_replace(): {quote(target)[1:-1]}"
        )
    vector = evaluation.labels.settle(cast(Vector, call.args[0]))
    names = regex.groupindex
    values: dict[str, str | None] = {}
    labels = []
    for one in vector.labels:
        text = one.get(source)
        if text not in values:
            clean = text.encode("utf-8", "replace").decode()
            match = regex.fullmatch(clean)
            values[text] = None if match is None else expand(template, _groups(match, names))
        new = values[text]
        labels.append(one if new is None else one.merged({target: new}))
    return _relabelled(call, vector, labels)


def _label_join(call: Invocation) -> Vector:
    evaluation, node = call.evaluation, call.node
    target, separator, *sources = cast("list[str]", list(call.args[1:]))
    for source in sources:
        if not is_label_name(source):
            evaluation.fail(
                node, f"invalid source label name in label_join(): {quote(source)[1:-1]}"
            )
    if not is_label_name(target):
        evaluation.fail(
            node, f"invalid destination label name in label_join(): {quote(target)[1:-1]}"
        )
    vector = evaluation.labels.settle(cast(Vector, call.args[0]))
    labels = [
        one.merged({target: separator.join(one.get(source) for source in sources)})
        for one in vector.labels
    ]
    return _relabelled(call, vector, labels)


FUNCTIONS = (
    Function("label_replace", (VECTOR, STRING, STRING, STRING, STRING), _label_replace),
    Function("label_join", (VECTOR, STRING, STRING, STRING), _label_join, variadic=-1),
)
