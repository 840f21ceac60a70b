"""The label set: a series' or an alert's identity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

METRIC_NAME = "__name__"

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF


class Labels:
    """An immutable, sorted set of name/value pairs.

    An empty value means that the label is absent, as in Prometheus, so such pairs are dropped.
    Two label sets are equal exactly when their pairs are.

    >>> Labels.of("up", job="node").with_(job="api")
    Labels(__name__='up', job='api')
    """

    __slots__ = ("_hash", "_map", "pairs")

    pairs: tuple[tuple[str, str], ...]

    def __init__(self, pairs: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        mapping = {k: v for k, v in dict(pairs).items() if v != ""}
        self._map = mapping
        self.pairs = tuple(sorted(mapping.items()))
        self._hash = hash(self.pairs)

    @classmethod
    def of(cls, name: str | None = None, /, **labels: str) -> Labels:
        """Build a label set from a metric name and keyword labels."""
        if name:
            labels[METRIC_NAME] = name
        return cls(labels)

    @property
    def name(self) -> str:
        """The metric name; empty when the set has none."""
        return self._map.get(METRIC_NAME, "")

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a label; an absent label is the empty string."""
        return self._map.get(name, default)

    def without(self, *names: str) -> Labels:
        """Return the set with these labels removed."""
        return Labels([p for p in self.pairs if p[0] not in names])

    def without_name(self) -> Labels:
        """Return the set with the metric name removed."""
        return self.without(METRIC_NAME) if METRIC_NAME in self._map else self

    def only(self, *names: str) -> Labels:
        """Return the set reduced to these labels."""
        return Labels([p for p in self.pairs if p[0] in names])

    def with_(self, **labels: str) -> Labels:
        """Return the set with these labels set; an empty value removes the label."""
        return Labels({**self._map, **labels})

    def merged(self, other: Mapping[str, str]) -> Labels:
        """Return the set with the pairs of ``other`` on top."""
        return Labels({**self._map, **other})

    def as_dict(self) -> dict[str, str]:
        """Return a fresh dictionary in label order."""
        return dict(self.pairs)

    def fingerprint(self) -> str:
        """Return the 64-bit FNV-1a hash of the set as 16 hexadecimal digits.

        The same bytes that Prometheus's client model hashes: names and values in order, each
        ended by 0xFF. Lone surrogates are hashed as they stand, so every set has one identity.
        """
        value = _FNV_OFFSET
        for name, text in self.pairs:
            for part in (name, text):
                for byte in part.encode("utf-8", "surrogatepass"):
                    value = ((value ^ byte) * _FNV_PRIME) & _MASK
                value = ((value ^ 0xFF) * _FNV_PRIME) & _MASK
        return f"{value:016x}"

    def __contains__(self, name: object) -> bool:
        return name in self._map

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.pairs == other.pairs

    def __lt__(self, other: Labels) -> bool:
        return self.pairs < other.pairs

    def __reduce__(self) -> tuple[type[Labels], tuple[tuple[tuple[str, str], ...]]]:
        return Labels, (self.pairs,)

    def __str__(self) -> str:
        """Return the PromQL form, ``name{a="b"}``."""
        inner = ", ".join(f"{k}={_quote(v)}" for k, v in self.pairs if k != METRIC_NAME)
        return f"{self.name}{{{inner}}}" if inner or not self.name else self.name

    def __repr__(self) -> str:
        return "Labels(" + ", ".join(f"{k}={v!r}" for k, v in self.pairs) + ")"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


EMPTY = Labels()
