"""From the querier's series to vectors and windows at every instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tapewatch.model.clock import MINUTE
from tapewatch.model.labels import Labels
from tapewatch.promql.ast import Edge, MatrixSelector, SubqueryExpr, VectorSelector
from tapewatch.promql.values import Bools, Ints, Vector, Windows, alive_rows, pick, widened
from tapewatch.series.querier import Selection, Sheet, Times, Values, is_stale

if TYPE_CHECKING:
    from tapewatch.promql.evaluation import Evaluation

DEFAULT_SUBQUERY_STEP_NS = MINUTE
_FAR_NS = 1 << 61
"""Instants are kept within this, so that shifting them by any duration stays in 64 bits."""
_KEY_ROOM = 1 << 62
_WHOLE_GRID = 50_000
"""Points of a subquery up to which a range query evaluates even those that no window holds."""


@dataclass(slots=True)
class Block:
    """The samples of many series in flat arrays; row i is [offsets[i], offsets[i + 1])."""

    labels: list[Labels]
    times: Times
    values: Values
    offsets: Ints
    shared: Times | None
    """The one array of times that all rows have, if they do."""

    def upto(self, instants: Times) -> Ints:
        """Return, per row and instant, the flat index behind the newest sample at or before it."""
        starts = self.offsets[:-1, None]
        if self.shared is not None:
            found: Ints = np.searchsorted(self.shared, instants, side="right")[None, :] + starts
            return found
        first = int(self.times.min())
        span = int(self.times.max()) - first + 2
        rows = len(self.labels)
        if rows * span >= _KEY_ROOM:
            return self._upto_by_row(instants)
        # One search over all rows: each row's times are moved to a range of their own.
        row = np.arange(rows, dtype=np.int64)
        keys = (self.times - first) + np.repeat(row * span, np.diff(self.offsets))
        wanted = np.clip(instants, first - 1, first + span - 2) - first
        result: Ints = np.searchsorted(keys, (row * span)[:, None] + wanted, side="right")
        return result

    def _upto_by_row(self, instants: Times) -> Ints:
        found = np.empty((len(self.labels), len(instants)), dtype=np.int64)
        for row in range(len(self.labels)):
            begin, end = self.offsets[row], self.offsets[row + 1]
            found[row] = np.searchsorted(self.times[begin:end], instants, side="right") + begin
        return found


def flatten(found: Selection) -> Block:
    """Join a selection that holds something into a block."""
    sheets = found.sheets
    shared: Times | None
    if len(sheets) == 1:
        shared, cells = sheets[0].times, sheets[0].values
        rows, columns = cells.shape
        times = shared if rows == 1 else np.tile(shared, rows)
        values = cells.reshape(-1)
        offsets = np.arange(rows + 1, dtype=np.int64) * columns
    else:
        times = np.concatenate([_tiled(sheet) for sheet in sheets])
        values = np.concatenate([sheet.values.reshape(-1) for sheet in sheets])
        lengths = np.repeat(
            [len(sheet.times) for sheet in sheets], [len(sheet.values) for sheet in sheets]
        )
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        shared = _shared_times(times, offsets)
    return Block(found.labels, times, values, offsets, shared)


def _tiled(sheet: Sheet) -> Times:
    rows = len(sheet.values)
    return sheet.times if rows == 1 else np.tile(sheet.times, rows)


def _shared_times(times: Times, offsets: Ints) -> Times | None:
    """Return the times that all rows have in common, as series of one table or scrape do."""
    length, rows = int(offsets[1]), len(offsets) - 1
    if length * rows != len(times) or (np.diff(offsets) != length).any():
        return None
    first = times[:length]
    return first if (times.reshape(rows, length) == first).all() else None


def _without_stale(block: Block) -> Block | None:
    """Return the block without stale markers; None when it holds nothing else."""
    kept = ~is_stale(block.values)
    if kept.all():
        return block
    before = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum(kept, out=before[1:])
    offsets = before[block.offsets]
    full = np.diff(offsets) > 0
    if not full.any():
        return None
    labels = pick(block.labels, full)
    offsets = np.append(offsets[:-1][full], offsets[-1])
    return Block(labels, block.times[kept], block.values[kept], offsets, None)


def _moved(times: Times, delta_ns: int) -> Times:
    """Return the instants moved by a duration, held within what 64 bits can move further."""
    if delta_ns == 0:
        return times
    if abs(delta_ns) < _FAR_NS >> 4 and times[0] > -_FAR_NS and times[-1] < _FAR_NS:
        return times + delta_ns
    delta = max(-_FAR_NS, min(_FAR_NS, delta_ns))
    return np.clip(np.clip(times, -_FAR_NS, _FAR_NS) + delta, -_FAR_NS, _FAR_NS)


def _instants(evaluation: Evaluation, node: VectorSelector | SubqueryExpr, times: Times) -> Times:
    """Return the instants a node looks at: one only, if @ pins it."""
    if node.at_edge is not None:
        edge = evaluation.start_ns if node.at_edge is Edge.START else evaluation.end_ns
        times = np.array([edge], dtype=np.int64)
    elif node.at_ns is not None:
        times = np.array([max(-_FAR_NS, min(_FAR_NS, node.at_ns))], dtype=np.int64)
    return _moved(times, -node.offset_ns)


def instant_vector(evaluation: Evaluation, node: VectorSelector, times: Times) -> Vector:
    """Return the newest sample of each series in (t - lookback, t], unless it is a stale marker."""
    return sampled(evaluation, node, times)[0]


def sampled(evaluation: Evaluation, node: VectorSelector, times: Times) -> tuple[Vector, Ints]:
    """Return an instant vector and the times of its samples, shape (m, n)."""
    instants = _instants(evaluation, node, times)
    first, end = int(instants[0]), int(instants[-1])
    start = first - evaluation.lookback_ns + 1
    found = evaluation.querier.columns(node.matchers, start, end, first_ns=first)
    one_name = node.exact_name != ""
    if not found.labels:
        nothing = np.zeros((0, len(instants)))
        vector = Vector([], nothing, nothing.astype(np.bool_), one_name)
        return vector, nothing.astype(np.int64)
    if len(instants) == 1:
        values, stamps, present = _newest(found.sheets)
    else:
        values, stamps, present = _at_steps(evaluation, found, instants)
    labels = found.labels
    if not present.all():
        alive = alive_rows(present)
        if not alive.all():
            labels = pick(labels, alive)
            values, present, stamps = values[alive], present[alive], stamps[alive]
    vector = Vector(labels, values, present, one_name)
    evaluation.charge(vector.rows * len(times))
    if len(instants) < len(times):
        shape = (vector.rows, len(times))
        vector.values = widened(vector.values, shape)
        vector.present = widened(vector.present, shape)
        stamps = widened(stamps, shape)
    return vector, stamps


def _newest(sheets: Sequence[Sheet]) -> tuple[Values, Ints, Bools]:
    """Return value, time and presence of each row's last sample: it is of the one instant."""
    if len(sheets) == 1:
        values = sheets[0].values[:, -1:]
        stamps = widened(sheets[0].times[-1:], values.shape)
    else:
        values = np.concatenate([sheet.values[:, -1:] for sheet in sheets])
        newest = [sheet.times[-1] for sheet in sheets]
        stamps = np.repeat(newest, [len(sheet.values) for sheet in sheets])[:, None]
    return values, stamps, ~is_stale(values)


def _at_steps(
    evaluation: Evaluation, found: Selection, instants: Times
) -> tuple[Values, Ints, Bools]:
    """Return value, time and presence of each row at each instant."""
    oldest = instants - evaluation.lookback_ns
    evaluation.charge(2 * len(found.labels) * len(instants))
    if len(found.sheets) == 1:
        sheet = found.sheets[0]
        evaluation.charge(sheet.values.size)
        newest = np.searchsorted(sheet.times, instants, side="right") - 1
        safe = np.maximum(newest, 0)
        stamps = sheet.times[safe]
        values = sheet.values[:, safe]
        present = ((newest >= 0) & (stamps > oldest)) & ~is_stale(values)
        return values, widened(stamps, values.shape), present
    block = flatten(found)
    evaluation.charge(len(block.times))
    newest = block.upto(instants) - 1
    starts = block.offsets[:-1, None]
    safe = np.maximum(newest, starts)
    stamps, values = block.times[safe], block.values[safe]
    return values, stamps, (newest >= starts) & (stamps > oldest) & ~is_stale(values)


def windows(evaluation: Evaluation, node: MatrixSelector, times: Times) -> Windows:
    """Return the samples of each series in (t - range, t], stale markers left out."""
    selector = node.selector
    ends = _instants(evaluation, selector, times)
    starts = _moved(ends, -node.range_ns)
    found = evaluation.querier.columns(selector.matchers, int(starts[0]) + 1, int(ends[-1]))
    block = _without_stale(flatten(found)) if found.labels else None
    one_name = selector.exact_name != ""
    shape = (0 if block is None else len(block.labels), len(times))
    evaluation.charge(2 * shape[0] * shape[1])
    wide_starts = widened(starts, times.shape)
    wide_ends = widened(ends, times.shape)
    if block is None:
        return _no_windows(wide_starts, wide_ends, node.range_ns, one_name)
    evaluation.charge(len(block.times))
    if len(ends) == 1:
        lo, hi = block.offsets[:-1, None], block.offsets[1:, None]
    else:
        lo, hi = block.upto(starts), block.upto(ends)
    return Windows(
        block.labels,
        block.times,
        block.values,
        widened(lo, shape),
        widened(hi, shape),
        wide_starts,
        wide_ends,
        node.range_ns,
        one_name,
    )


def _no_windows(starts: Times, ends: Times, range_ns: int, one_name: bool) -> Windows:
    none = np.zeros((0, len(ends)), dtype=np.int64)
    empty = np.zeros(0)
    return Windows([], none[:, 0], empty, none, none, starts, ends, range_ns, one_name)


def subquery(evaluation: Evaluation, node: SubqueryExpr, times: Times) -> Windows:
    """Evaluate the inner expression at the multiples of the step and window the results."""
    ends = _instants(evaluation, node, times)
    starts = _moved(ends, -node.range_ns)
    wide_starts = widened(starts, times.shape)
    wide_ends = widened(ends, times.shape)
    step = node.step_ns or DEFAULT_SUBQUERY_STEP_NS
    grid = _grid(evaluation, starts, ends, step)
    if not len(grid):
        if id(node.expr) in evaluation.invariant:
            # Evaluated all the same, as Prometheus does: it may fail.
            evaluation.vector(node.expr, starts[:1])
        return _no_windows(wide_starts, wide_ends, node.range_ns, False)
    inner = evaluation.labels.settle(evaluation.vector(node.expr, grid))
    shape = (inner.rows, len(times))
    evaluation.charge(inner.rows * len(grid) + 2 * shape[0] * shape[1])
    counts = np.zeros((inner.rows, len(grid) + 1), dtype=np.int64)
    np.cumsum(inner.present, axis=1, out=counts[:, 1:])
    before = np.zeros(inner.rows, dtype=np.int64)
    np.cumsum(counts[:-1, -1], out=before[1:])
    _, column = np.nonzero(inner.present)
    lo = before[:, None] + counts[:, np.searchsorted(grid, starts, side="right")]
    hi = before[:, None] + counts[:, np.searchsorted(grid, ends, side="right")]
    return Windows(
        inner.labels,
        grid[column],
        inner.values[inner.present],
        widened(lo, shape),
        widened(hi, shape),
        wide_starts,
        wide_ends,
        node.range_ns,
        inner.one_name,
    )


def _grid(evaluation: Evaluation, starts: Times, ends: Times, step: int) -> Times:
    """Return the multiples of the step that lie in any of the windows (start, end]."""
    first, last = int(starts[0]) // step + 1, int(ends[-1]) // step
    whole = max(0, last - first + 1)
    firsts, lasts = starts // step + 1, ends // step
    apart = int((lasts - firsts + 1).sum())
    # A range query evaluates the points between its windows too, as Prometheus does: they may fail.
    if whole <= apart or (evaluation.strict and whole <= _WHOLE_GRID):
        evaluation.charge(whole)
        return np.arange(first, last + 1, dtype=np.int64) * step
    evaluation.charge(apart)
    parts = [np.arange(a, b + 1) for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True)]
    return np.unique(np.concatenate(parts)) * step
