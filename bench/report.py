"""The one shape in which a benchmark reports: a table for people, JSON lines for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its peer or limit."""

    bench: str
    figure: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    limit: float | None = None
    """Most that ``ratio`` may be when there is a peer, else most that ``ours`` may be."""

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's; None without a peer."""
        return self.ours / self.peer if self.peer else None

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None without a limit."""
        if self.limit is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.limit


def percentile(ordered: Sequence[int], q: float) -> float:
    """Return the q-quantile (0 to 1) of values in rising order."""
    return float(ordered[min(len(ordered) - 1, int(q * len(ordered)))])


def _row(f: Figure) -> tuple[str, ...]:
    return (
        f.figure,
        f"{f.ours:,.4g} {f.unit}",
        f"{f.peer:,.4g} {f.unit} ({f.peer_name})" if f.peer is not None else "",
        f"{f.ratio:.3f}" if f.ratio is not None else "",
        f"{f.limit:.4g}" if f.limit is not None else "",
        {True: "holds", False: "DOES NOT HOLD", None: ""}[f.holds],
    )


def report(figures: Sequence[Figure]) -> bool:
    """Print the table and the JSON lines; return whether every limit is kept."""
    rows = [("figure", "ours", "peer", "ratio", "limit", ""), *map(_row, figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    for f in figures:
        print(
            json.dumps(
                {
                    "bench": f.bench,
                    "figure": f.figure,
                    "ours": round(f.ours, 6),
                    "peer": None if f.peer is None else round(f.peer, 6),
                    "ratio": None if f.ratio is None else round(f.ratio, 6),
                    "unit": f.unit,
                }
            ),
            flush=True,
        )
    return all(f.holds is not False for f in figures)
