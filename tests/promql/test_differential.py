"""Random queries over random data, answered by a real Prometheus and by us.

Debian's Prometheus is 2.42. What 3.x does otherwise is kept out of the data and the queries:
window edges never meet a sample (2.x windows are closed on the left), counters are far from zero
or have no gaps (the order of two extrapolation rules changed), no number is a duration, no name is
quoted; `CHANGED_SINCE_2` lists the rest. With ``PROMETHEUS`` set to a 3.x binary nothing is masked.

``TAPEWATCH_DIFFERENTIAL`` is the number of queries, ``TAPEWATCH_SEED`` the seed.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine, QueryLimits, ValueType
from tapewatch.testing import MemoryQuerier

PROMETHEUS = shutil.which(os.environ.get("PROMETHEUS", "prometheus"))
PROMTOOL = shutil.which("promtool")
QUERIES = int(os.environ.get("TAPEWATCH_DIFFERENTIAL", "600"))
SEED = int(os.environ.get("TAPEWATCH_SEED", "20240501"))
MILLI = 1_000_000
T0 = 1_700_000_000_000  # milliseconds
MINUTES = 100

CHANGED_SINCE_2 = {
    "the window of predict_linear moves with the steps in spite of @ in 2.x": re.compile(
        r"predict_linear.*@"
    ),
    "the left edge counts in 2.x, and inner subqueries meet it": re.compile(r":\w*\].*:\w*\]"),
    "atan2 keeps the metric name in 2.x": re.compile(r"atan2"),
    "stddev and stdvar of one value that is not finite are 0 in 2.x": re.compile(
        r"\bstd(?:dev|var)(?: (?:by|without) \([a-z, ]*\))?\((?!g2?\b)"
    ),
}
_INEXACT = r"(?:\^|exp|sinh|time\(\))"
LAST_BITS = re.compile(rf"{_INEXACT}.*%|%.*{_INEXACT}|(?:sin|cos|tan)\(.*{_INEXACT}")
"""Powers differ in the last bits between C and Go; remainders and angles make them the first."""

pytestmark = [
    pytest.mark.server("prometheus"),
    pytest.mark.skipif(
        PROMETHEUS is None or PROMTOOL is None, reason="prometheus and promtool are not installed"
    ),
]

Series = dict[Labels, list[tuple[int, float]]]


def make_data(rng: random.Random) -> Series:
    """Return samples in milliseconds; no sample lies on a whole or half second."""
    data: Series = {}

    def walk(labels: Labels, values: Iterator[float], *, gaps: float, every: int = 15) -> None:
        begin = rng.choice([0, 0, 0, 25])
        end = rng.choice([MINUTES, MINUTES, MINUTES, 70])
        samples = []
        for second in range(begin * 60, end * 60, every):
            value = next(values)
            if rng.random() >= gaps:
                samples.append((T0 + second * 1000 + rng.randint(1, 399), value))
        data[labels] = samples

    def gauge() -> Iterator[float]:
        value = rng.uniform(-50, 50)
        while True:
            value += rng.gauss(0, 3)
            yield value

    def counter(*, resets: float) -> Iterator[float]:
        value = 1e6
        while True:
            yield value
            value += rng.randint(0, 30)
            if rng.random() < resets:
                value = float(rng.randint(0, 20))

    def steps() -> Iterator[float]:
        while True:
            yield float(rng.randint(0, 3))

    def odd() -> Iterator[float]:
        while True:
            yield rng.choice([math.nan, math.inf, -math.inf, 0.0, 1.5, -2.0, 3.0, 4.0])

    for job in "abc":
        for inst in "01":
            walk(Labels.of("g", job=job, inst=inst), gauge(), gaps=0.1)
            walk(Labels.of("g2", job=job, inst=inst), gauge(), gaps=0.3)
            walk(Labels.of("c_total", job=job, inst=inst), counter(resets=0), gaps=0.2)
            walk(Labels.of("s", job=job, inst=inst), steps(), gaps=0.2, every=120)
        walk(Labels.of("r_total", job=job), counter(resets=0.03), gaps=0.0)
        walk(Labels.of("w", job=job), odd(), gaps=0.1)
        walk(Labels.of("meta", job=job, team=f"team-{job}"), itertools.repeat(2.0), gaps=0.0)
        counters = [counter(resets=0) for _ in range(4)]
        total = 0.0
        begins = T0 + rng.randint(1, 399)
        for second in range(0, MINUTES * 60, 15):
            total = 0.0
            for bound, values in zip(("0.1", "0.5", "2", "+Inf"), counters, strict=True):
                total += next(values) - 1e6
                labels = Labels.of("h_bucket", job=job, le=bound)
                data.setdefault(labels, []).append((begins + second * 1000, total))
    return data


def open_metrics(data: Series) -> str:
    lines = []
    for labels, samples in data.items():
        inner = ",".join(f'{k}="{v}"' for k, v in labels if k != "__name__")
        for time_ms, value in samples:
            text = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, repr(value))
            text = "NaN" if math.isnan(value) else text
            lines.append(f"{labels.name}{{{inner}}} {text} {time_ms / 1000:.3f}")
    return "\n".join([*lines, "# EOF", ""])


class Peer:
    """A Prometheus process over prepared blocks."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str, **parameters: object) -> tuple[int, Any]:
        body = urllib.parse.urlencode(parameters)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.connection.request("POST" if parameters else "GET", path, body or None, headers)
        response = self.connection.getresponse()
        return response.status, response.read()

    def ask(self, path: str, **parameters: object) -> Any:
        """Return the data of an answer, or None when the query failed."""
        status, body = self.get(path, **parameters)
        return json.loads(body)["data"] if status == 200 else None


@pytest.fixture(scope="module")
def data() -> Series:
    return make_data(random.Random(SEED))


@pytest.fixture(scope="module")
def peer(data: Series, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    directory = tmp_path_factory.mktemp("prometheus")
    text, blocks, config = directory / "in.om", directory / "data", directory / "p.yml"
    text.write_text(open_metrics(data))
    config.write_text("global: {}\n")
    subprocess.run(
        [str(PROMTOOL), "tsdb", "create-blocks-from", "openmetrics", str(text), str(blocks)],
        check=True,
        capture_output=True,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={config}",
                f"--storage.tsdb.path={blocks}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    peer = Peer(port)
    try:
        wait_until_ready(peer, process, directory / "log")
        yield peer
    finally:
        peer.connection.close()
        process.terminate()
        process.wait(timeout=30)


def wait_until_ready(peer: Peer, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            if peer.get("/-/ready")[0] == 200:
                return
        except OSError:
            peer.connection.close()
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def engine(data: Series) -> QueryEngine:
    querier = MemoryQuerier()
    for labels, samples in data.items():
        querier.add(labels, [(time_ms * MILLI, value) for time_ms, value in samples])
    return QueryEngine(querier, limits=QueryLimits(timeout_s=60))


# fmt: off
class Generator:
    """Writes random queries in the part of the language that 2.42 and 3.5 share."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def matchers(self) -> str:
        return self.pick(
            "",
            "",
            "",
            '{job="a"}',
            '{job!="b"}',
            '{job=~"a|c"}',
            '{inst!~"1"}',
            '{inst=""}',
            '{job=~".+",inst="0"}',
        )

    def shift(self) -> str:
        at = f" @ {T0 // 1000 + self.rng.randint(0, MINUTES * 60)}.5"
        return self.pick("", "", "", "", " offset 3m", " offset -90s", at, " @ end()", " @ start()")

    def selector(self) -> str:
        name = self.pick("g", "g", "g2", "c_total", "s", "r_total", "w")
        return name + self.matchers() + self.shift()

    def window(self) -> str:
        return self.pick("40s", "1m", "2m", "5m", "13m", "1h")

    def matrix(self) -> str:
        name = self.pick("g", "g2", "s", "w")
        return f"{name}{self.matchers()}[{self.window()}]{self.shift()}"

    def counter_matrix(self) -> str:
        name = self.pick("c_total", "r_total")
        return f"{name}{self.matchers()}[{self.window()}]{self.shift()}"

    def vector(self, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.15:
            return self.selector()
        return self.rng.choice(
            [
                self.function,
                self.over_time,
                self.rate,
                self.aggregation,
                self.aggregation,
                self.scalar_operation,
                self.scalar_operation,
                self.binary,
                self.binary,
                self.subquery,
                self.special,
            ]
        )(depth - 1)

    def function(self, depth: int) -> str:
        inner = self.vector(depth)
        name = self.pick(
            "abs",
            "ceil",
            "floor",
            "exp",
            "ln",
            "log2",
            "log10",
            "sqrt",
            "sgn",
            "round",
            "sin",
            "cos",
            "tan",
            "atan",
            "sinh",
            "tanh",
            "asinh",
            "deg",
            "rad",
            "timestamp",
            "absent",
            "sort",
            "minute",
            "hour",
            "day_of_week",
            "day_of_month",
            "day_of_year",
            "month",
            "year",
            "days_in_month",
            "clamp",
            "clamp_min",
            "clamp_max",
            "-",
            "vector(scalar",
        )
        if name == "-":
            return f"-({inner})"
        if name == "vector(scalar":
            return f"vector(scalar({inner}))"
        extra = {
            "round": self.pick("", ", 0.5", ", 7"),
            "clamp": ", -3, 4.5",
            "clamp_min": ", 1",
            "clamp_max": ", 2",
        }.get(name, "")
        return f"{name}({inner}{extra})"

    def over_time(self, depth: int) -> str:
        name = self.pick(
            "sum_over_time",
            "avg_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "last_over_time",
            "present_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "quantile_over_time",
            "changes",
            "resets",
            "delta",
            "idelta",
            "deriv",
            "predict_linear",
            "absent_over_time",
        )
        if name == "quantile_over_time":
            return f"{name}({self.pick('0', '0.3', '0.9', '1', '2', '-1')}, {self.matrix()})"
        extra = ", 600" if name == "predict_linear" else ""
        return f"{name}({self.matrix()}{extra})"

    def rate(self, depth: int) -> str:
        return f"{self.pick('rate', 'increase', 'irate', 'resets')}({self.counter_matrix()})"

    def aggregation(self, depth: int) -> str:
        name = self.pick(
            "sum",
            "avg",
            "min",
            "max",
            "count",
            "group",
            "stddev",
            "stdvar",
            "quantile",
            "topk",
            "bottomk",
            "count_values",
        )
        by = self.pick("", "", " by (job)", " by (inst)", " without (inst)", " by (job, inst)")
        if name == "count_values":
            return f'count_values{by}("v", s{self.matchers()})'
        if name in ("topk", "bottomk"):
            return (
                f"{name}{by}({self.pick('1', '2', '5')}, {self.pick('g', 'g2')}{self.matchers()})"
            )
        param = f"{self.pick('0', '0.25', '0.5', '1', '1.5')}, " if name == "quantile" else ""
        return f"{name}{by}({param}{self.vector(depth)})"

    def scalar_operation(self, depth: int) -> str:
        operator = self.pick(
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            ">",
            "<",
            ">=",
            "<=",
            "> bool",
            "< bool",
            "== bool",
            "!= bool",
            "==",
            "!=",
        )
        number = self.pick("0", "1", "2.5", "-3.75", "1e3", "Inf", "NaN", "time()", "0x10", "pi()")
        inner = self.vector(depth)
        pair = [f"({inner})", number]
        if self.rng.random() < 0.3:
            pair.reverse()
        return f"{pair[0]} {operator} {pair[1]}"

    def binary(self, depth: int) -> str:
        operator = self.pick(
            "+",
            "-",
            "*",
            "/",
            "%",
            ">",
            "<",
            "> bool",
            "!= bool",
            "and",
            "or",
            "unless",
            "and",
            "or",
        )
        matching = self.pick(
            "", "", "", " on (job)", " ignoring (inst)", " on (job, inst)", " on ()"
        )
        if operator not in ("and", "or", "unless") and matching and self.rng.random() < 0.5:
            matching += self.pick(" group_left", " group_right", " group_left (team)")
        return f"({self.vector(depth)}) {operator}{matching} ({self.vector(depth)})"

    def subquery(self, depth: int) -> str:
        name = self.pick(
            "sum_over_time", "max_over_time", "avg_over_time", "count_over_time", "delta"
        )
        step = self.pick("", "17s", "1m", "5m")
        return f"{name}(({self.vector(min(depth, 1))})[{self.window()}:{step}]{self.shift()})"

    def special(self, depth: int) -> str:
        return self.rng.choice(
            [
                lambda: (
                    f"histogram_quantile({self.pick('0', '0.1', '0.5', '0.9', '1', '7')}, "
                    f"{self.pick('h_bucket', 'rate(h_bucket[5m])', 'sum by (le) (h_bucket)')})"
                ),
                lambda: (
                    f'label_replace({self.vector(depth)}, "{self.pick("job", "x", "inst")}", '
                    f'"{self.pick("$1", "q-$1", "")}", "job", "{self.pick("(.*)", "(a|b)", "z")}")'
                ),
                lambda: f'label_join({self.vector(depth)}, "x", "-", "job", "inst")',
                lambda: "g * on (job) group_left (team) meta",
                lambda: f"s / on (job) group_left () max by (job) ({self.vector(depth)})",
                lambda: f"absent(nothing{self.matchers()})",
                lambda: f'{{__name__=~"g|g2"}}{self.shift()}',
                lambda: 'sum by (__name__) ({__name__=~"g|s",job="a"})',
                lambda: f'rate({{__name__=~"{self.pick("c_total", "c_total|r_total")}"}}[5m])',
                lambda: f"{self.pick('hour', 'minute', 'day_of_week', 'month', 'year')}()",
            ]
        )()

    def query(self) -> str:
        if self.rng.random() < 0.05:
            return self.pick("time()", "1 + 2 * pi()", "scalar(g)", "scalar(sum(g)) - 1", "'text'")
        return self.vector(self.rng.choice([1, 2, 2, 3]))


# fmt: on
def close(ours: float, theirs: float) -> bool:
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-6)


Points = dict[Labels, dict[int, float]]


def our_points(result: Any) -> Points:
    if result.type is ValueType.VECTOR:
        return {s.labels: {s.time_ns // MILLI: s.value} for s in result.vector}
    return {
        s.labels: dict(zip((s.times // MILLI).tolist(), s.values.tolist(), strict=True))
        for s in result.matrix
    }


def their_points(found: Any) -> Points:
    return {
        Labels(s["metric"]): {
            round(float(t) * 1000): float(v) for t, v in s.get("values", [s.get("value")])
        }
        for s in found["result"]
    }


def difference(ours: Points, theirs: Points) -> str:
    if ours.keys() != theirs.keys():
        return (
            f"ours alone {sorted(map(str, ours.keys() - theirs.keys()))[:4]}, "
            f"theirs alone {sorted(map(str, theirs.keys() - ours.keys()))[:4]}"
        )
    for labels, points in ours.items():
        other = theirs[labels]
        if points.keys() != other.keys():
            return f"{labels}: times differ: {sorted(points.keys() ^ other.keys())[:4]}"
        for at, value in points.items():
            if not close(value, other[at]):
                return f"{labels} at {at}: ours {value!r}, theirs {other[at]!r}"
    return ""


def compare(engine: QueryEngine, peer: Peer, query: str, rng: random.Random) -> str:
    """Ask both; returns how they differ, or the empty text."""
    at = T0 + rng.randint(5, MINUTES + 5) * 60_000 + 500
    if rng.random() < 0.5:
        theirs = peer.ask("/api/v1/query", query=query, time=at / 1000)
        try:
            ours: Any = engine.instant(query, at * MILLI)
        except QueryError as error:
            return f"we fail: {error}" if theirs is not None else ""
        if theirs is None:
            return "they fail"
        if ours.type is ValueType.SCALAR:
            return "" if close(ours.scalar, float(theirs["result"][1])) else "scalars differ"
        if ours.type is ValueType.STRING:
            return "" if ours.string == theirs["result"][1] else "strings differ"
    else:
        step = rng.choice([17_000, 60_000, 300_000])
        end = at + rng.randint(0, 40) * step
        theirs = peer.ask(
            "/api/v1/query_range", query=query, start=at / 1000, end=end / 1000, step=step / 1000
        )
        try:
            ours = engine.range(query, at * MILLI, end * MILLI, step * MILLI)
        except QueryError as error:
            return f"we fail: {error}" if theirs is not None else ""
        if theirs is None:
            return "they fail"
    return difference(our_points(ours), their_points(theirs))


@pytest.mark.timeout(1800)
def test_random_queries_give_the_answers_of_a_real_prometheus(
    engine: QueryEngine, peer: Peer
) -> None:
    rng = random.Random(SEED + 1)
    generator = Generator(rng)
    version = json.loads(peer.get("/api/v1/status/buildinfo")[1])["data"]["version"]
    masks = [LAST_BITS, *(CHANGED_SINCE_2.values() if version.startswith("2.") else ())]
    different = []
    for _ in range(QUERIES):
        query = generator.query()
        while any(mask.search(query) for mask in masks):
            query = generator.query()
        found = compare(engine, peer, query, rng)
        if found:
            different.append(f"{query}\n    {found}")
    assert different == [], f"{len(different)} of {QUERIES} differ:\n" + "\n".join(different[:40])
