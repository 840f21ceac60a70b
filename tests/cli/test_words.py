"""The small parts that commands are made of: moments, bars, carets, cells."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.cli.caret import query_error, refused_query
from tapewatch.cli.output import quoted, safe_cell
from tapewatch.cli.sparkline import BARS, sparkline
from tapewatch.cli.verdict import alert_status, health_status, together, word
from tapewatch.cli.when import moment, span
from tapewatch.model.clock import HOUR, SECOND
from tapewatch.model.errors import QueryError
from tapewatch.model.health import HealthStatus
from tapewatch.promql import parse

NOW = 1_795_000_000 * SECOND
KOLKATA = ZoneInfo("Asia/Kolkata")


class TestMoments:
    def test_how_long_ago_and_now(self) -> None:
        assert moment("1h", NOW, UTC, "--since") == NOW - HOUR
        assert moment("now", NOW, UTC, "--since") == NOW

    @pytest.mark.requirement("S5-49")
    def test_a_time_without_offset_is_local_to_the_zone(self) -> None:
        local = moment("2026-11-21T09:15", NOW, KOLKATA, "--since")
        assert local == moment("2026-11-21T03:45+00:00", NOW, KOLKATA, "--since")
        assert (
            moment("2026-11-21", NOW, UTC, "-")
            == datetime(2026, 11, 21, tzinfo=UTC).timestamp() * SECOND
        )

    @given(st.text(max_size=30))
    def test_anything_else_is_wrong_usage(self, text: str) -> None:
        try:
            moment(text, NOW, UTC, "--since")
        except typer.BadParameter as error:
            assert "--since" in error.message

    def test_a_span_is_above_zero(self) -> None:
        assert span("90s", "--window") == 90 * SECOND
        for text in ("0s", "-1s", "", "soon"):
            with pytest.raises(typer.BadParameter):
                span(text, "--window")


class TestSparkline:
    def test_the_lowest_and_the_highest_bar_are_used(self) -> None:
        assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == BARS
        assert sparkline([3, 3, 3]) == BARS[0] * 3
        assert sparkline([]) == ""

    @given(st.lists(st.one_of(st.none(), st.floats())))
    def test_every_value_is_one_character_and_gaps_are_spaces(self, values: list) -> None:
        line = sparkline(values)
        assert len(line) == len(values)
        for value, mark in zip(values, line, strict=True):
            finite = value is not None and math.isfinite(value)
            assert mark in (BARS if finite else " ")

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2))
    def test_a_higher_value_never_has_a_lower_bar(self, values: list[float]) -> None:
        marks = sparkline(values)
        pairs = sorted(zip(values, marks, strict=True))
        assert [m for _, m in pairs] == sorted(m for _, m in pairs)


class TestCaret:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("sum(x))", "  sum(x))\n        ^"),
            ("x +\n  sum(", "    sum(\n        ^"),
            ("a\t)", "  a\\t)\n     ^"),
        ],
    )
    def test_the_caret_stands_below_the_place(self, text: str, shown: str) -> None:
        with pytest.raises(QueryError) as caught:
            parse(text)
        assert query_error(text, caught.value).message.split("\n", 1)[1] == shown

    def test_a_refusal_by_the_daemon_has_its_place_read_from_the_message(self) -> None:
        error = refused_query("rate(x)", 'invalid parameter "query": 1:6: expected a range')
        assert error.message == "line 1, column 6: expected a range\n  rate(x)\n       ^"

    def test_without_a_place_the_message_stands_alone(self) -> None:
        assert refused_query("x", "query timed out").message == "query timed out"
        assert refused_query("x", "9:99: beyond the text").message == "9:99: beyond the text"


class TestVerdicts:
    def test_unknown_is_never_healthy(self) -> None:
        assert together([]) is HealthStatus.UNKNOWN
        assert together([HealthStatus.HEALTHY, HealthStatus.UNKNOWN]) is HealthStatus.UNKNOWN
        assert health_status("splendid") is HealthStatus.UNKNOWN
        assert alert_status({"severity": "loud"}) is HealthStatus.UNKNOWN

    def test_the_words_are_those_of_nagios(self) -> None:
        assert [word(s) for s in (HealthStatus.HEALTHY, HealthStatus.DEGRADED)] == ["OK", "WARNING"]
        assert word(HealthStatus.CRITICAL) == "CRITICAL"


class TestCells:
    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
    def test_no_spreadsheet_takes_a_label_for_a_formula(self, text: str) -> None:
        assert safe_cell(text) == f"'{text}"
        assert safe_cell("plain") == "plain"

    @given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00")))
    def test_a_quoted_text_is_read_back_by_the_parser(self, text: str) -> None:
        from tapewatch.promql import StringLiteral

        parsed = parse(quoted(text))
        assert isinstance(parsed, StringLiteral)
        assert parsed.value == text
