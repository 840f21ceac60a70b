"""Aggregations over series: one result per group of labels, or a choice of the group's members."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql import kahan
from tapewatch.promql.ast import AggregateExpr, is_label_name
from tapewatch.promql.binary import filtered
from tapewatch.promql.printer import format_number
from tapewatch.promql.quantile import quantile, warn_of_quantile
from tapewatch.promql.values import Bools, Floats, Groups, Vector
from tapewatch.series.querier import Times

if TYPE_CHECKING:
    from tapewatch.promql.evaluation import Evaluation

_EXACT = float(1 << 53)
"""Integers whose absolute sum stays below this add up without rounding, in any order."""
_WIDE = 64
"""From so many steps on, whole rows are added at once instead of column by column."""


def aggregate(evaluation: Evaluation, node: AggregateExpr, times: Times) -> Vector:
    """Return the aggregation of a vector at every step."""
    param = None if node.param is None else evaluation.evaluate(node.param, times)
    vector = evaluation.vector(node.expr, times)
    if node.op == "count_values":
        return _count_values(evaluation, node, vector, cast(str, param))
    groups = evaluation.labels.groups(vector, node.grouping, without=node.without)
    choose = _CHOICES.get(node.op)
    if choose is not None:
        return choose(evaluation, node, vector, groups, cast(Floats, param))
    nameless = node.without or METRIC_NAME not in node.grouping
    if node.op == "quantile":
        levels = cast(Floats, param)
        warn_of_quantile(evaluation, node.param or node, levels)
        values = _quantiles(evaluation, vector, groups, levels)
    else:
        values = _REDUCTIONS[node.op](evaluation, vector, groups)
    present = _any_present(vector, groups)
    return filtered(Vector(list(groups), values, present, nameless), present)


def _any_present(vector: Vector, groups: Groups) -> Bools:
    if not groups:
        return np.zeros((0, vector.values.shape[1]), dtype=np.bool_)
    if vector.present.all():
        return np.ones((len(groups), vector.values.shape[1]), dtype=np.bool_)
    if len(groups) == vector.rows:
        return vector.present[[members[0] for members in groups.values()]]
    order, starts = _ordered(groups)
    result: Bools = np.logical_or.reduceat(vector.present[order], starts, axis=0)
    return result


def _ordered(groups: Groups) -> tuple[list[int], list[int]]:
    """Return the rows group after group, and where each group starts."""
    order: list[int] = []
    starts: list[int] = []
    for members in groups.values():
        starts.append(len(order))
        order.extend(members)
    return order, starts


def _count(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
    if not groups:
        return np.zeros((0, vector.values.shape[1]))
    order, starts = _ordered(groups)
    counts = np.add.reduceat(vector.present[order].astype(np.int64), starts, axis=0)
    return counts.astype(np.float64)


def _group(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
    return np.ones((len(groups), vector.values.shape[1]))


def _extreme(ufunc: np.ufunc) -> Callable[..., Floats]:
    def reduce(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
        if not groups:
            return np.zeros((0, vector.values.shape[1]))
        order, starts = _ordered(groups)
        # fmax and fmin take a number over NaN, so NaN can stand for "nothing here".
        values = np.where(vector.present, vector.values, np.nan)[order]
        result: Floats = ufunc.reduceat(values, starts, axis=0)
        return result

    return reduce


def _sum(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
    exact = _exact_sums(vector, groups)
    if exact is not None:
        return exact
    return _folded(evaluation, vector, groups, kahan.total, _wide_sum)


def _avg(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
    exact = _exact_sums(vector, groups)
    if exact is not None:
        return exact / _count(evaluation, vector, groups)
    return _folded(evaluation, vector, groups, kahan.mean, _wide_mean)


def _exact_sums(vector: Vector, groups: Groups) -> Floats | None:
    """Return the sums if no order of additions can round: all values are small integers."""
    values = vector.values if vector.present.all() else np.where(vector.present, vector.values, 0.0)
    # A NaN or an infinity makes the first test false.
    if not groups or not np.abs(values).sum() < _EXACT or (values != np.rint(values)).any():
        return None
    order, starts = _ordered(groups)
    # The 0 makes a sum of -0 what the compensated sum makes of it: 0.
    result: Floats = np.add.reduceat(values[order], starts, axis=0) + 0.0
    return result


def _folded(
    evaluation: Evaluation,
    vector: Vector,
    groups: Groups,
    column: Callable[[list[float]], float],
    wide: Callable[[Floats, Bools], Floats],
) -> Floats:
    """Fold each group at each step, in the order of the rows."""
    steps = vector.values.shape[1]
    out = np.zeros((len(groups), steps))
    everywhere = bool(vector.present.all())
    for g, members in enumerate(groups.values()):
        evaluation.check()
        values = vector.values[members]
        present = vector.present[members]
        if steps >= _WIDE:
            out[g] = wide(values, present)
            continue
        for step in range(steps):
            chosen = values[:, step] if everywhere else values[present[:, step], step]
            if len(chosen):
                out[g, step] = column(chosen.tolist())
    return out


def _wide_sum(values: Floats, present: Bools) -> Floats:
    total = np.zeros(values.shape[1])
    carry = np.zeros(values.shape[1])
    for row, here in zip(values, present, strict=True):
        new, new_carry = kahan.add_arrays(row, total, carry)
        total, carry = np.where(here, new, total), np.where(here, new_carry, carry)
    return np.where(np.isinf(total), total, total + carry)


def _wide_mean(values: Floats, present: Bools) -> Floats:
    total = np.zeros(values.shape[1])
    carry = np.zeros(values.shape[1])
    for row, here in zip(values, present, strict=True):
        new, new_carry = kahan.add_arrays(row, total, carry)
        total, carry = np.where(here, new, total), np.where(here, new_carry, carry)
    counts = present.sum(axis=0)
    out: Floats = total / counts + carry / counts
    for step in np.flatnonzero(~np.isfinite(total) & (counts > 0)):
        out[step] = kahan.mean(values[present[:, step], step].tolist())
    return out


def _variance(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
    """Return the population variance by Welford's recurrence; NaN if a value is not finite."""
    steps = vector.values.shape[1]
    out = np.zeros((len(groups), steps))
    for g, members in enumerate(groups.values()):
        evaluation.check()
        mean, squares, count = np.zeros(steps), np.zeros(steps), np.zeros(steps)
        for row in members:
            here, value = vector.present[row], vector.values[row]
            first = here & (count == 0)
            count = count + here
            delta = value - mean
            new_mean = np.where(first, value, mean + delta / count)
            added = np.where(first, np.where(np.isfinite(value), 0.0, np.nan), 0.0)
            added = np.where(first, added, delta * (value - new_mean))
            mean, squares = np.where(here, new_mean, mean), squares + np.where(here, added, 0.0)
        out[g] = squares / count
    return out


def _deviation(evaluation: Evaluation, vector: Vector, groups: Groups) -> Floats:
    return np.sqrt(_variance(evaluation, vector, groups))


def _quantiles(evaluation: Evaluation, vector: Vector, groups: Groups, levels: Floats) -> Floats:
    steps = vector.values.shape[1]
    out = np.zeros((len(groups), steps))
    for g, members in enumerate(groups.values()):
        evaluation.check()
        values, present = vector.values[members], vector.present[members]
        for step in range(steps):
            out[g, step] = quantile(float(levels[step]), values[present[:, step], step])
    return out


def _count_values(
    evaluation: Evaluation, node: AggregateExpr, vector: Vector, label: str
) -> Vector:
    if not is_label_name(label):
        evaluation.fail(node, f'invalid label name "{label}"')
    grouping = node.grouping if node.without else (*node.grouping, label)
    rows: dict[Labels, int] = {}
    steps = vector.values.shape[1]
    counts: list[Floats] = []
    final = evaluation.labels.labels_of(vector)
    for row in range(vector.rows):
        evaluation.check()
        for step in np.flatnonzero(vector.present[row]).tolist():
            text = count_values_text(vector.values.item(row, step))
            labels = final[row].merged({label: text})
            kept = (
                labels.without(*grouping, METRIC_NAME) if node.without else labels.only(*grouping)
            )
            at = rows.setdefault(kept, len(rows))
            if at == len(counts):
                evaluation.charge(steps)
                counts.append(np.zeros(steps))
            counts[at][step] += 1
    values = np.array(counts).reshape(len(rows), steps)
    return Vector(list(rows), values, values > 0)


def count_values_text(value: float) -> str:
    """Return a value in decimal without exponent, as few digits as keep it, as Go's 'f', -1.

    >>> count_values_text(1e21), count_values_text(0.5)
    ('1000000000000000000000', '0.5')
    """
    if not math.isfinite(value):
        return format_number(value)
    return np.format_float_positional(value, trim="-")


def _limit_count(evaluation: Evaluation, node: AggregateExpr, level: float) -> int:
    if math.isnan(level):
        evaluation.fail(node, "Parameter value is NaN")
    if abs(level) >= 2.0**63:
        evaluation.fail(node, f"Scalar value {format_number(level)} overflows int64")
    return max(0, int(level))


def _top(*, largest: bool) -> Callable[..., Vector]:
    def choose(
        evaluation: Evaluation,
        node: AggregateExpr,
        vector: Vector,
        groups: Groups,
        levels: Floats,
    ) -> Vector:
        steps = vector.values.shape[1]
        chosen = np.zeros(vector.values.shape, dtype=np.bool_)
        order: list[int] = []
        wanted = [_limit_count(evaluation, node, level) for level in levels.tolist()]
        for members in groups.values():
            evaluation.check()
            rows = np.array(members, dtype=np.intp)
            values, present = vector.values[rows], vector.present[rows]
            # NaN only fills up: numbers first, then NaN, then what is absent.
            rank = np.where(present, np.where(np.isnan(values), 1, 0), 2)
            key = -values if largest else values
            by_value = np.lexsort((key.T, rank.T)).T if len(rows) else rank
            counts = present.sum(axis=0)
            for step in range(steps):
                best = by_value[: min(wanted[step], int(counts[step])), step]
                chosen[rows[best], step] = True
                if evaluation.instant:
                    order.extend(rows[best].tolist())
        result = Vector(vector.labels, vector.values, chosen, vector.one_name, vector.drops_name)
        if evaluation.instant and steps == 1:
            return _in_order(result, order)
        return filtered(result, chosen)

    return choose


def _in_order(vector: Vector, order: list[int]) -> Vector:
    return Vector(
        [vector.labels[row] for row in order],
        vector.values[order],
        vector.present[order],
        vector.one_name,
        vector.drops_name,
        ordered=True,
    )


def _limitk(
    evaluation: Evaluation,
    node: AggregateExpr,
    vector: Vector,
    groups: Groups,
    levels: Floats,
) -> Vector:
    chosen = np.zeros(vector.values.shape, dtype=np.bool_)
    wanted = np.array([_limit_count(evaluation, node, level) for level in levels.tolist()])
    for members in groups.values():
        present = vector.present[members]
        chosen[members] = present & (np.cumsum(present, axis=0) <= wanted)
    return filtered(vector, chosen)


def _limit_ratio(
    evaluation: Evaluation,
    node: AggregateExpr,
    vector: Vector,
    groups: Groups,
    levels: Floats,
) -> Vector:
    for level in dict.fromkeys(levels.tolist()):
        if math.isnan(level):
            evaluation.fail(node, "Ratio value is NaN")
        if not -1 <= level <= 1:
            capped = 1 if level > 1 else -1
            evaluation.warn(
                node.param or node,
                f"ratio value should be between -1 and 1, got {format_number(level)}, "
                f"capping to {capped}",
            )
    ratios = np.clip(levels, -1.0, 1.0)
    final = evaluation.labels.labels_of(vector)
    # Where each series lies in [0, 1): stable, so a ratio and its complement share nothing.
    places = np.array([int(labels.fingerprint(), 16) / 2.0**64 for labels in final])[:, None]
    chosen = np.where(ratios >= 0, places < ratios, places >= 1.0 + ratios)
    return filtered(vector, vector.present & chosen)


_REDUCTIONS: dict[str, Callable[[Evaluation, Vector, Groups], Floats]] = {
    "sum": _sum,
    "avg": _avg,
    "count": _count,
    "group": _group,
    "min": _extreme(np.fmin),
    "max": _extreme(np.fmax),
    "stdvar": _variance,
    "stddev": _deviation,
}
_CHOICES: dict[str, Callable[..., Vector]] = {
    "topk": _top(largest=True),
    "bottomk": _top(largest=False),
    "limitk": _limitk,
    "limit_ratio": _limit_ratio,
}
