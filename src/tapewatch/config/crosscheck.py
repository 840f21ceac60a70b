"""What one setting alone cannot show: names used twice, doors left open, halves without a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapewatch.config.model import (
    Settings,
    WebhookReceiverSettings,
)
from tapewatch.config.shape import Path, dotted
from tapewatch.model.token import token_weakness

_NEW_TOKEN = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 - a hint


def cross_check(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Yield the path and a sentence for everything that does not fit together."""
    yield from _door(settings)
    yield from _twice("engines", [engine.name for engine in settings.engines])
    yield from _twice("receivers", [receiver.name for receiver in settings.receivers])
    yield from _twice("packs", [pack.name for pack in settings.packs])
    yield from _twice("artifacts", [f"{a.name} of {a.engine or '-'}" for a in settings.artifacts])
    for index, receiver in enumerate(settings.receivers):
        if (
            isinstance(receiver, WebhookReceiverSettings)
            and receiver.url is None
            and receiver.url_file is None
        ):
            path: Path = ("receivers", index)
            yield path, f'{dotted(path)}: receiver "{receiver.name}" needs url or url_file'


def _door(settings: Settings) -> Iterator[tuple[Path, str]]:
    token = settings.web.auth_token
    if token is not None:
        weakness = token_weakness(token.get_secret_value())
        if weakness:
            yield (
                ("web", "auth_token"),
                f"web.auth_token cannot be used: {weakness}; make one with: {_NEW_TOKEN}",
            )
    elif not settings.listen.on_loopback and not settings.web.trust_tls_proxy:
        yield (
            ("listen",),
            f"listen: {settings.listen} can be reached by other machines, and there is no token; "
            "listen on 127.0.0.1, set web.auth_token_file, or state web.trust_tls_proxy: true if "
            f"a proxy in front decides who may read; make a token with: {_NEW_TOKEN}",
        )


def _twice(section: str, names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            yield (
                (section, index),
                f'{section}[{index}]: the name "{name}" is taken by {section}[{seen[name]}]',
            )
        seen.setdefault(name, index)
