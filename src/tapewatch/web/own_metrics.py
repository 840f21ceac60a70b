"""What the web room counts about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricType
from tapewatch.web.exposition import MetricFamily


class WebMetrics:
    """Plain counters; read at every scrape."""

    def __init__(self) -> None:
        self.responses: Counter[int] = Counter()
        """Responses by status code."""
        self.auth_failures = 0
        self.connections = 0
        """Open TCP connections now."""
        self.connections_cut: Counter[str] = Counter()
        """Connections ended by us, by reason."""
        self.stream_clients = 0
        self.stream_clients_cut = 0
        self.families_skipped = 0
        self._labels: dict[tuple[str, str], Labels] = {}

    def families(self) -> Iterator[MetricFamily]:
        """Yield the room's own families."""
        counter = MetricType.COUNTER
        codes = sorted(self.responses)
        yield MetricFamily(
            "tapewatch_http_responses_total",
            counter,
            "HTTP responses sent, by status code.",
            labels=tuple(self._label("code", str(code)) for code in codes),
            values=[self.responses[code] for code in codes],
        )
        yield MetricFamily.single(
            "tapewatch_http_auth_failures_total",
            self.auth_failures,
            "Requests that carried a wrong token.",
            counter,
        )
        yield MetricFamily.single(
            "tapewatch_http_connections", self.connections, "Open TCP connections."
        )
        reasons = sorted(self.connections_cut)
        yield MetricFamily(
            "tapewatch_http_connections_cut_total",
            counter,
            "Connections ended by the server, by reason.",
            labels=tuple(self._label("reason", reason) for reason in reasons),
            values=[self.connections_cut[reason] for reason in reasons],
        )
        yield MetricFamily.single(
            "tapewatch_http_stream_clients", self.stream_clients, "Open live streams."
        )
        yield MetricFamily.single(
            "tapewatch_http_stream_clients_cut_total",
            self.stream_clients_cut,
            "Live streams ended because the client was too slow.",
            counter,
        )
        yield MetricFamily.single(
            "tapewatch_http_families_skipped_total",
            self.families_skipped,
            "Metric families left out of /metrics because they were not valid.",
            counter,
        )

    def _label(self, name: str, value: str) -> Labels:
        """Return the same object for the same pair, so that its rendering stays cached."""
        return self._labels.setdefault((name, value), Labels({name: value}))
