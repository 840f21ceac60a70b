"""The exposition is what Prometheus's own readers accept, whatever the values and labels hold."""

from __future__ import annotations

import dataclasses
import math
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricType
from tapewatch.web.exposition import MetricFamily, Renderer, wants_openmetrics

NASTY = 'back\\slash "quote" new\nline é 日本 \u2028 </script>'


def text_of(*families: MetricFamily) -> str:
    return Renderer(openmetrics=False).render(families).decode()


def openmetrics_of(*families: MetricFamily) -> str:
    return Renderer(openmetrics=True).render(families).decode()


def samples(parsed: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in parsed  # type: ignore[attr-defined]
        for s in family.samples
    }


@pytest.mark.requirement("S2-07")
def test_a_gauge_is_written_with_help_type_and_escaped_labels():
    family = MetricFamily(
        "pnl_daily",
        help="Daily P&L,\nsigned \\ unrounded.",
        labels=(Labels.of("pnl_daily", engine=NASTY),),
        values=[2500.5],
    )
    expected = (
        "# HELP pnl_daily Daily P&L,\\nsigned \\\\ unrounded.\n"
        "# TYPE pnl_daily gauge\n"
        'pnl_daily{engine="back\\\\slash \\"quote\\" new\\nline é 日本 \u2028 </script>"} 2500.5\n'
    )
    assert text_of(family) == expected


@pytest.mark.requirement("S2-07", "S5-102")
def test_every_type_is_read_back_by_both_of_prometheus_clients_parsers():
    le = tuple(Labels({"le": b, "engine": "a"}) for b in ("0.1", "+Inf"))
    plain = Labels({"engine": "a"})
    families = [
        MetricFamily("ticks_total", MetricType.COUNTER, "Ticks.", labels=(plain,), values=[7]),
        MetricFamily("lag_seconds", MetricType.GAUGE, "Lag.", "seconds", (plain,), [0.25]),
        MetricFamily("build_info", MetricType.INFO, "Build.", labels=(plain,), values=[1]),
        MetricFamily("odd", MetricType.UNKNOWN, "Odd.", labels=(plain,), values=[3.0]),
        MetricFamily(
            "tick_seconds",
            MetricType.HISTOGRAM,
            "Time.",
            "seconds",
            (*le, plain, plain),
            [3, 4, 4, 0.5],
            suffixes=("_bucket", "_bucket", "_count", "_sum"),
        ),
    ]
    text = samples(parse_text(text_of(*families)))
    om = samples(parse_openmetrics(openmetrics_of(*families)))
    assert text == om
    assert om["ticks_total", (("engine", "a"),)] == 7.0
    assert om["tick_seconds_bucket", (("engine", "a"), ("le", "+Inf"))] == 4.0
    types = {f.name: f.type for f in parse_openmetrics(openmetrics_of(*families))}
    assert types["build"] == "info"
    assert types["ticks"] == "counter"
    units = {f.name: f.unit for f in parse_openmetrics(openmetrics_of(*families))}
    assert units["lag_seconds"] == "seconds"


def test_openmetrics_ends_with_eof_and_text_does_not():
    assert openmetrics_of().endswith("# EOF\n")
    assert "# EOF" not in text_of(MetricFamily.single("up", 1, "Up."))


def test_a_counter_without_its_suffix_gets_it_in_openmetrics():
    family = MetricFamily.single("fills", 3, "Fills.", MetricType.COUNTER)
    assert "fills_total 3" in openmetrics_of(family)
    assert next(iter(parse_openmetrics(openmetrics_of(family)))).type == "counter"


def test_a_counter_whose_bare_name_is_taken_gives_up_its_type_and_keeps_its_name():
    shown = openmetrics_of(
        MetricFamily.single("errors", 2, "Errors now."),
        MetricFamily.single("errors_total", 9, "Errors so far.", MetricType.COUNTER),
    )
    assert samples(parse_openmetrics(shown)) == {("errors", ()): 2.0, ("errors_total", ()): 9.0}


@pytest.mark.requirement("F58")
@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_nan_infinities_ints_and_bools_are_written_as_prometheus_reads_them(kind):
    values = kind([math.nan, math.inf, -math.inf, 5, True, -0.0, 1e300])
    labels = tuple(Labels({"n": str(i)}) for i in range(7))
    shown = text_of(MetricFamily("x", labels=labels, values=values))
    found = [line.rsplit(" ", 1)[1] for line in shown.splitlines() if line[0] != "#"]
    assert found[:3] == ["NaN", "+Inf", "-Inf"]
    assert [float(text) for text in found[3:]] == [5.0, 1.0, -0.0, 1e300]


def test_a_numpy_scalar_among_the_values_is_a_number_and_not_its_repr():
    shown = text_of(MetricFamily("x", values=[np.float64(1.5)]))
    assert shown.endswith("x 1.5\n")


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.floats(allow_nan=False),
        max_size=20,
    )
)
def test_any_label_text_and_float_come_back_exactly(values):
    labels = tuple(Labels({"n": text}) for text in values)
    shown = text_of(MetricFamily("x", labels=labels, values=list(values.values())))
    assert samples(parse_text(shown)) == {("x", (("n", t),)): v for t, v in values.items()}


def test_a_lone_surrogate_costs_one_character_and_not_the_scrape():
    family = MetricFamily("x", labels=(Labels({"n": "a\ud800b"}),), values=[1.0])
    assert 'x{n="a?b"} 1' in text_of(family)


def test_what_is_not_valid_is_left_out_and_counted_and_the_rest_is_shown():
    renderer = Renderer(openmetrics=False)
    shown = renderer.render(
        [
            MetricFamily.single("good", 1, "Good."),
            MetricFamily.single("bad name", 1, "Bad."),
            MetricFamily("short", labels=(Labels(), Labels({"a": "b"})), values=[1.0]),
            MetricFamily.single("good", 2, "Again."),
        ]
    )
    assert shown == b"# HELP good Good.\n# TYPE good gauge\ngood 1\n"
    assert renderer.skipped == 3


def test_of_two_equal_label_sets_only_the_first_is_shown():
    labels = (Labels({"a": "1"}), Labels({"a": "2"}), Labels({"a": "1"}))
    stamps = [1000, None, 3000]
    shown = text_of(MetricFamily("x", labels=labels, values=[1.0, 2.0, 3.0], timestamps_ms=stamps))
    assert shown.endswith('x{a="1"} 1.0 1000\nx{a="2"} 2.0\n')


def test_timestamps_are_milliseconds_in_text_and_seconds_in_openmetrics():
    family = MetricFamily("x", values=[1.0], timestamps_ms=[1_435_781_451_781])
    assert "x 1.0 1435781451781\n" in text_of(family)
    assert "x 1.0 1435781451.781\n" in openmetrics_of(family)


def test_what_is_kept_between_scrapes_never_shows_an_old_name_label_or_value():
    renderer = Renderer(openmetrics=False)
    first = MetricFamily("x", help="One.", labels=(Labels({"a": "1"}),), values=[1.0])
    renderer.render([first])
    changed = dataclasses.replace(first, help="Two.", labels=[Labels({"a": "2"})], values=[2.0])
    assert renderer.render([changed]) == text_of(changed).encode()
    grown = [*changed.labels, Labels({"a": "3"})]
    more = dataclasses.replace(changed, labels=grown, values=[2.0, 3.0])
    assert renderer.render([more]) == text_of(more).encode()
    assert renderer.render([]) == b""
    assert renderer.render([first]) == text_of(first).encode()


def test_a_list_of_labels_changed_in_place_is_noticed():
    renderer = Renderer(openmetrics=False)
    labels = [Labels({"a": "1"})]
    renderer.render([MetricFamily("x", labels=labels, values=[1.0])])
    labels[0] = Labels({"a": "2"})
    assert b'x{a="2"} 1.0' in renderer.render([MetricFamily("x", labels=labels, values=[1.0])])


def test_an_openmetrics_counter_changes_its_name_back_when_the_conflict_is_gone():
    renderer = Renderer(openmetrics=True)
    total = MetricFamily.single("errors_total", 9, "Errors so far.", MetricType.COUNTER)
    renderer.render([MetricFamily.single("errors", 2, "Errors now."), total])
    assert renderer.render([total]) == openmetrics_of(total).encode()


@pytest.mark.server("promtool")
@pytest.mark.requirement("S2-101")
def test_promtool_finds_nothing_wrong():
    plain = (Labels({"engine": "a"}),)
    shown = text_of(
        MetricFamily("ticks_total", MetricType.COUNTER, "Ticks.", labels=plain, values=[7]),
        MetricFamily("lag_seconds", MetricType.GAUGE, NASTY, labels=plain, values=[0.25]),
        MetricFamily("pnl_daily", MetricType.GAUGE, "P&L.", labels=plain, values=[math.nan]),
    )
    promtool = shutil.which("promtool")
    assert promtool is not None
    done = subprocess.run(
        [promtool, "check", "metrics"], input=shown.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=2.0.0", False),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.1", False),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
            True,
        ),
        ("application/openmetrics-text;q=x", False),
        (";;;=,,q", False),
    ],
)
def test_the_accept_header_chooses_the_format(accept, openmetrics):
    assert wants_openmetrics(accept) is openmetrics
