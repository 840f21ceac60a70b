"""Single settings read from text and YAML values."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.config.fields import Duration, ListenAddress, Size, zone


@given(st.integers(min_value=0, max_value=10**12).map(lambda ms: ms * 1_000_000))
def test_a_duration_reads_back_what_it_shows(ns: int) -> None:
    assert Duration.read(str(Duration(ns))) == ns


@pytest.mark.parametrize(
    ("value", "seconds"), [("1h30m", 5400), ("250ms", 0.25), (90, 90), ("90", 90), (0.5, 0.5)]
)
def test_a_bare_number_means_seconds(value: Any, seconds: float) -> None:
    assert Duration.read(value).seconds == seconds


@pytest.mark.parametrize(
    "value", ["", "1", "5 s", "1x", "-1s", -1, True, None, [], float("nan"), float("inf"), 1e300]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    if value == "1":
        assert Duration.read(value).seconds == 1
        return
    with pytest.raises(ValueError, match="expected"):
        Duration.read(value)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_a_size_reads_back_what_it_shows(size: int) -> None:
    assert Size.read(str(Size(size))) == size


@pytest.mark.parametrize(
    ("value", "size"), [("64MiB", 64 << 20), ("5GB", 5 * 10**9), ("10 kB", 10_000), (7, 7)]
)
def test_sizes_have_decimal_and_binary_units(value: Any, size: int) -> None:
    assert Size.read(value) == size


@pytest.mark.parametrize("value", ["", "5 pounds", "-1", -1, 1.5, True, "1e3", None])
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        Size.read(value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8090", "127.0.0.1", 8090),
        ("[::1]:0", "::1", 0),
        ("monitor.example.org:443", "monitor.example.org", 443),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    address = ListenAddress.read(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", ":8090", "127.0.0.1", "::1:80", "[x]:1", "a:b", "a:65536", "a b:1", 8090, None]
)
def test_what_is_no_address_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        ListenAddress.read(text)


def test_utc_needs_no_time_zone_database() -> None:
    assert zone("UTC") is UTC


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()))
def test_no_value_whatever_makes_a_reader_fail_otherwise(value: Any) -> None:
    for kind in (Duration, Size, ListenAddress):
        try:
            kind.read(value)
        except ValueError as error:
            assert str(error).startswith("expected")
