"""The recorded prices are real, whole, adjusted, and their absence is explained."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import pytest

from tapewatch.demo import market
from tapewatch.demo.market import Bar, MarketDataError, read_bars


@pytest.fixture(scope="module")
def bars() -> tuple[Bar, ...]:
    return read_bars()


def test_the_package_ships_thirteen_years_of_five_shares(bars: tuple[Bar, ...]) -> None:
    assert len(bars) == 12_154
    assert {bar.symbol for bar in bars} == set(market.SYMBOLS)
    assert (bars[0].day, bars[-1].day) == (date(2000, 3, 1), date(2013, 3, 1))


def test_bars_come_by_day_and_then_by_symbol_each_once(bars: tuple[Bar, ...]) -> None:
    keys = [(bar.day, bar.symbol) for bar in bars]
    assert keys == sorted(set(keys))


def test_a_split_is_no_jump_in_the_adjusted_prices(bars: tuple[Bar, ...]) -> None:
    # Microsoft split two for one on 2003-02-18: the traded price halved over night.
    by_day = {bar.day: bar for bar in bars if bar.symbol == "MSFT"}
    before, after = by_day[date(2003, 2, 14)], by_day[date(2003, 2, 18)]
    assert abs(after.close / before.close - 1.0) < 0.05


def test_high_and_low_enclose_open_and_close(bars: tuple[Bar, ...]) -> None:
    outside = [
        bar
        for bar in bars
        if not bar.low * (1 - 1e-9) <= min(bar.open, bar.close)
        or not bar.high * (1 + 1e-9) >= max(bar.open, bar.close)
    ]
    # The source has a handful of such days, and the values are taken as recorded.
    assert len(outside) < 20


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MarketDataError, match=r"pip install 'tapewatch\[demo\]'"):
        read_bars()


HEADER = ",".join(market.COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", r":1: found columns \('a', 'b'\)"),
        (f"{HEADER}\nAAPL,2000-03-01,1,2\n", r":2: \['AAPL', '2000-03-01', '1', '2'\] is no daily"),
        (f"{HEADER}\nAAPL,yesterday,1,1,1,1,1,1\n", ":2: .* is no daily bar"),
        (f"{HEADER}\nAAPL,2000-03-01,1,1,1,0,1,1\n", ":2: .* is no daily bar"),
        (f"{HEADER}\n", "no bars found"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "stocks.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(MarketDataError, match=message):
        read_bars(file)


def test_a_package_without_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bokeh_sampledata").mkdir()
    (tmp_path / "bokeh_sampledata" / "__init__.py").touch()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", _find_in(tmp_path))
    with pytest.raises(MarketDataError, match="has no such file"):
        read_bars()


def _find_in(folder: Path):  # type: ignore[no-untyped-def]
    import importlib.machinery

    def find(name: str) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.PathFinder.find_spec(name, [str(folder)])

    return find
