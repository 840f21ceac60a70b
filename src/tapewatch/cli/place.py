"""Where the daemon of a command is to be found: its directory, its socket and its address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from tapewatch.cli.telling import tell
from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.record.paths import data_directory

if TYPE_CHECKING:
    from tapewatch.config.load import LoadedConfig

DEFAULT_URL = "http://127.0.0.1:8090"
SOCKET = "tapewatch.sock"
ALERTS = Path("logs") / "alerts"


@dataclass(frozen=True, slots=True)
class Place:
    """One daemon, running or not."""

    data_dir: Path
    url: str
    """Where its TCP port should be."""
    url_given: bool
    """True when a person named the address: then nothing else is asked."""
    token: str | None
    alerts_directory: Path
    zone: tzinfo
    config: LoadedConfig | None
    """None when the configuration cannot be read."""

    @property
    def socket_path(self) -> Path:
        """Its Unix socket."""
        return self.data_dir / SOCKET


def find_place(
    config: Path | None = None,
    data_dir: Path | None = None,
    url: str | None = None,
    token_file: Path | None = None,
) -> Place:
    """Return the place that flags, environment and configuration mean.

    A configuration with errors does not keep anybody from looking at a running system: the
    default places are taken then, and a line says so.

    Raises:
        TapewatchError: The token file cannot be used.
    """
    loaded = _load(config, data_dir)
    token = _token(token_file) if token_file is not None else None
    if loaded is None:
        directory = data_directory(data_dir)
        alerts = directory / ALERTS
        return Place(directory, url or DEFAULT_URL, bool(url), token, alerts, UTC, None)
    from tapewatch.config.fields import zone

    settings = loaded.settings
    if token is None and settings.web.auth_token is not None and not url:
        token = settings.web.auth_token.get_secret_value()
    return Place(
        data_dir=loaded.data_dir,
        url=url or _local_url(settings.listen.host, settings.listen.port),
        url_given=bool(url),
        token=token,
        alerts_directory=loaded.alerts_directory,
        zone=zone(settings.timezone),
        config=loaded,
    )


def _load(config: Path | None, data_dir: Path | None) -> LoadedConfig | None:
    from tapewatch.config.load import FlagValue, load_config

    flags = [FlagValue("--data-dir", "data_dir", str(data_dir))] if data_dir is not None else []
    try:
        return load_config(config, flags=flags)
    except ConfigError as error:
        if config is not None:
            raise
        count = len(error.problems)
        tell(
            f"warning: the configuration has {count} problem{'s' if count != 1 else ''} and was "
            "left out; tapewatch check-config shows them"
        )
        return None


def _local_url(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token(path: Path) -> str:
    from tapewatch.config.secret_file import read_secret

    try:
        return read_secret(path)
    except ValueError as error:
        raise TapewatchError(str(error)) from None
