"""Binary operators: arithmetic, comparison and sets, between scalars and vectors at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.ast import COMPARISONS, BinaryExpr, Cardinality, VectorMatching
from tapewatch.promql.values import Bools, Floats, Value, Vector, alive_rows, pick

if TYPE_CHECKING:
    from tapewatch.promql.evaluation import Evaluation

Rows = npt.NDArray[np.intp]

_ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,  # the sign of the dividend, as in C and Go
    "^": np.power,
    "atan2": np.arctan2,
}
_COMPARISON: dict[str, Callable[[Floats, Floats], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}


def apply(evaluation: Evaluation, node: BinaryExpr, left: Value, right: Value) -> Value:
    """Return ``left op right``; the parser has checked that the types allow it."""
    if isinstance(left, Vector):
        if isinstance(right, Vector):
            matching = node.matching or VectorMatching()
            if matching.card is Cardinality.MANY_TO_MANY:
                return _set_operation(evaluation, node, matching, left, right)
            return _match(evaluation, node, matching, left, right)
        return _vector_scalar(evaluation, node, left, cast(Floats, right), vector_first=True)
    scalar = cast(Floats, left)
    if isinstance(right, Vector):
        return _vector_scalar(evaluation, node, right, scalar, vector_first=False)
    if node.op in COMPARISONS:
        return _COMPARISON[node.op](scalar, cast(Floats, right)).astype(np.float64)
    return _ARITHMETIC[node.op](scalar, cast(Floats, right))


def _vector_scalar(
    evaluation: Evaluation, node: BinaryExpr, vector: Vector, scalar: Floats, *, vector_first: bool
) -> Vector:
    a, b = (vector.values, scalar) if vector_first else (scalar, vector.values)
    compare = _COMPARISON.get(node.op)
    if compare is None:
        values = _ARITHMETIC[node.op](a, b)
    elif node.return_bool:
        values = compare(a, b).astype(np.float64)
    else:
        return filtered(vector, vector.present & compare(a, b))
    result = Vector(
        vector.labels, values, vector.present, vector.one_name, vector.drops_name, vector.ordered
    )
    return evaluation.drop_name(node, result)


def filtered(vector: Vector, present: Bools) -> Vector:
    """Return the vector reduced to what is present; rows that never are go."""
    alive = alive_rows(present)
    labels, values = vector.labels, vector.values
    if not alive.all():
        labels = pick(labels, alive)
        values, present = values[alive], present[alive]
    return Vector(labels, values, present, vector.one_name, vector.drops_name, vector.ordered)


def _signatures(
    evaluation: Evaluation, matching: VectorMatching, left: Vector, right: Vector
) -> tuple[list[int], list[int], list[Labels]]:
    """Number the match groups; returns each row's number per side, and the groups' labels."""
    numbers: dict[Labels, int] = {}
    sides = []
    for side in (left, right):
        keys = evaluation.labels.group_keys(side, matching.labels, without=not matching.on)
        sides.append([numbers.setdefault(key, len(numbers)) for key in keys])
    return sides[0], sides[1], list(numbers)


def _set_operation(
    evaluation: Evaluation, node: BinaryExpr, matching: VectorMatching, left: Vector, right: Vector
) -> Vector:
    in_left, in_right, groups = _signatures(evaluation, matching, left, right)
    if node.op == "or":
        seen = _any_per_group(left, in_left, len(groups))
        extra = right.present & ~seen[in_right] if right.rows else right.present
        added = evaluation.labels.settle(filtered(right, extra))
        if not added.rows:
            return left
        kept = evaluation.labels.settle(left)
        joined = Vector(
            [*kept.labels, *added.labels],
            np.concatenate([kept.values, added.values]),
            np.concatenate([kept.present, added.present]),
        )
        return evaluation.unite(node, joined)
    if not left.rows:
        return left
    seen = _any_per_group(right, in_right, len(groups))[in_left]
    return filtered(left, left.present & (seen if node.op == "and" else ~seen))


def _any_per_group(vector: Vector, group_of: list[int], groups: int) -> Bools:
    """Return per match group and step whether any row is present, shape (groups, n)."""
    seen = np.zeros((groups, vector.values.shape[1]), dtype=np.bool_)
    if vector.rows:
        np.logical_or.at(seen, np.array(group_of, dtype=np.intp), vector.present)
    return seen


def _match(
    evaluation: Evaluation, node: BinaryExpr, matching: VectorMatching, left: Vector, right: Vector
) -> Vector:
    """Pair the rows of both sides by their match group and compute each pair."""
    swapped = matching.card is Cardinality.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    in_many, in_one, groups = _signatures(evaluation, matching, many, one)
    _require_unique_one_side(evaluation, node, many, one, in_one, groups, swapped=swapped)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(in_one):
        members.setdefault(group, []).append(row)
    many_rows: list[int] = []
    one_rows: list[int] = []
    for row, group in enumerate(in_many):
        for partner in members.get(group, ()):
            many_rows.append(row)
            one_rows.append(partner)
    evaluation.charge(len(many_rows) * many.values.shape[1])
    present = many.present[many_rows] & one.present[one_rows]
    many_values, one_values = many.values[many_rows], one.values[one_rows]
    a, b = (one_values, many_values) if swapped else (many_values, one_values)
    compare = _COMPARISON.get(node.op)
    if compare is None:
        values = _ARITHMETIC[node.op](a, b)
    elif node.return_bool:
        values = compare(a, b).astype(np.float64)
    else:
        present = present & compare(a, b)
        values = many_values
    alive = np.flatnonzero(alive_rows(present)).tolist()
    if len(alive) < len(many_rows):
        values, present = values[alive], present[alive]
        many_rows = [many_rows[i] for i in alive]
        one_rows = [one_rows[i] for i in alive]
    labels = _result_labels(evaluation, node, matching, many, one, many_rows, one_rows)
    group_of = [in_many[row] for row in many_rows]
    _require_unique_matches(evaluation, node, matching, labels, group_of, present)
    drops = compare is None or node.return_bool
    return evaluation.unite(node, Vector(labels, values, present, one_name=drops))


def _require_unique_one_side(
    evaluation: Evaluation,
    node: BinaryExpr,
    many: Vector,
    one: Vector,
    in_one: list[int],
    groups: list[Labels],
    *,
    swapped: bool,
) -> None:
    """Raise if two series of the one side meet in one group at a step where both sides have any."""
    if len(set(in_one)) == len(in_one) or not many.rows:
        return
    counts = np.zeros((len(groups), one.values.shape[1]), dtype=np.int64)
    np.add.at(counts, np.array(in_one, dtype=np.intp), one.present)
    clash = (counts > 1) & many.present.any(axis=0)
    if not clash.any():
        return
    group, step = (int(i[0]) for i in np.nonzero(clash))
    final = evaluation.labels.labels_of(one)
    pair = [final[r] for r, g in enumerate(in_one) if g == group and one.present[r, step]]
    side = "left" if swapped else "right"
    evaluation.fail(
        node,
        f"found duplicate series for the match group {_braced(groups[group])} on the {side} "
        f"hand-side of the operation: [{_braced(pair[1])}, {_braced(pair[0])}]"
        ";many-to-many matching not allowed: matching labels must be unique on one side",
    )


def _braced(labels: Labels) -> str:
    """Return labels as Prometheus prints them in error texts: the name is a label like others."""
    inner = ", ".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inner}}}"


def _require_unique_matches(
    evaluation: Evaluation,
    node: BinaryExpr,
    matching: VectorMatching,
    labels: list[Labels],
    group_of: list[int],
    present: Bools,
) -> None:
    """Raise if a group gives two results at a step (one-to-one) or two equal ones (grouped)."""
    grouped = matching.card is not Cardinality.ONE_TO_ONE
    keys = list(zip(group_of, labels, strict=True)) if grouped else group_of
    if len(set(keys)) == len(keys):
        return
    seen: dict[object, Bools] = {}
    for row, key in enumerate(keys):
        before = seen.get(key)
        if before is not None and (before & present[row]).any():
            evaluation.fail(
                node,
                "multiple matches for labels: grouping labels must ensure unique matches"
                if grouped
                else "multiple matches for labels: many-to-one matching must be explicit "
                "(group_left/group_right)",
            )
        seen[key] = present[row] if before is None else before | present[row]


def _result_labels(
    evaluation: Evaluation,
    node: BinaryExpr,
    matching: VectorMatching,
    many: Vector,
    one: Vector,
    many_rows: list[int],
    one_rows: list[int],
) -> list[Labels]:
    drops = node.op in _ARITHMETIC or node.return_bool
    if matching.card is Cardinality.ONE_TO_ONE:
        reduced = Vector(
            [many.labels[row] for row in many_rows],
            many.values,
            many.present,
            drops_name=many.drops_name or drops,
        )
        if matching.on:
            return evaluation.labels.group_keys(reduced, matching.labels, without=False)
        if reduced.drops_name:
            return evaluation.labels.group_keys(reduced, matching.labels, without=True)
        if not matching.labels:
            return reduced.labels
        return [labels.without(*matching.labels) for labels in reduced.labels]
    base = evaluation.labels.labels_of(many)
    if drops:
        base = [evaluation.labels.without_name(labels) for labels in base]
    if not matching.include:
        return [base[row] for row in many_rows]
    source = evaluation.labels.labels_of(one)
    out = []
    for row, partner in zip(many_rows, one_rows, strict=True):
        extra = {name: source[partner].get(name) for name in matching.include}
        if drops:
            extra.pop(METRIC_NAME, None)
        out.append(base[row].merged(extra))
    return out
