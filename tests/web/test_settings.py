"""What the web room refuses to start with."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.token import token_weakness
from tapewatch.web.settings import ListenError, WebSettings, check_settings

GOOD = secrets.token_urlsafe(32)


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "trading-host"])
def test_listening_off_loopback_without_a_token_is_refused(host):
    with pytest.raises(ListenError, match="without a token") as caught:
        check_settings(WebSettings(host=host))
    assert "127.0.0.1" in caught.value.next_step


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host):
    check_settings(WebSettings(host=host))


@pytest.mark.requirement("T1")
def test_off_loopback_a_good_token_or_a_stated_proxy_is_enough():
    check_settings(WebSettings(host="0.0.0.0", token=GOOD))
    check_settings(WebSettings(host="0.0.0.0", behind_proxy=True))


@pytest.mark.requirement("T1")
@pytest.mark.parametrize(
    "token",
    [
        "",
        "changeme",
        "short",
        "a" * 64,
        "0123456789" * 7,
        "abcdefghijkl" * 6,
        "changeme-" + secrets.token_urlsafe(32),
        secrets.token_hex(16),
        secrets.token_urlsafe(16),
        GOOD + " ",
        GOOD + "é",
        GOOD + "\n",
    ],
)
def test_a_token_that_can_be_guessed_is_refused_without_being_repeated(token):
    for host in ("127.0.0.1", "0.0.0.0"):
        with pytest.raises(ListenError, match="token") as caught:
            check_settings(WebSettings(host=host, token=token))
        if len(token) > 8:
            assert token not in str(caught.value)


@given(st.randoms(use_true_random=True))
def test_a_random_token_of_32_bytes_is_accepted(chance):
    number = bytes(chance.randrange(256) for _ in range(32))
    assert token_weakness(number.hex()) == ""


def test_settings_never_show_the_token():
    assert GOOD not in repr(WebSettings(token=GOOD))
    assert GOOD not in str(WebSettings(token=GOOD))
