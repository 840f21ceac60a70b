"""Every setting of Tapewatch, with its meaning, its unit, its default and why that is the default.

The models are frozen and refuse unknown keys. A key of the file, an attribute here, an environment
variable and a line of the reference page all carry the same name.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from tapewatch.config.fields import (
    Count,
    Day,
    Duration,
    FilePath,
    Flag,
    ListenAddress,
    Name,
    Number,
    SecretUrl,
    Severity,
    Size,
    Text,
    TimeOfDay,
    TimeZoneName,
    Weekday,
    between,
    duration,
)
from tapewatch.model.severity import AlertSeverity

S = TypeVar("S", bound="Section")

DEFAULT_PACKS = ("engine", "self")


def _setting(default: Any, description: str, *, why: str = "", unit: str = "") -> Any:
    extra: dict[str, Any] = {k: v for k, v in (("unit", unit), ("why", why)) if v}
    return Field(default, description=description, json_schema_extra=extra or None)


def _required(description: str) -> Any:
    return Field(description=description)


def _section(model: type[S], description: str) -> Any:
    return Field(default_factory=model, description=description)


class Section(BaseModel):
    """A group of settings: frozen, and it refuses what it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=False,
    )


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What a log line looks like."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogFileSettings(Section):
    """The daemon's own log file, beside what goes to standard error."""

    path: FilePath = _required("The file. A relative path lies below the data directory.")
    max_bytes: Annotated[Size, between(Size(64 * 1024), Size(10 * 2**30))] = _setting(
        Size(20 * 2**20),
        "A file that has reached this size is rotated.",
        unit="bytes",
        why="opens in any editor, holds days of an ordinary daemon",
    )
    max_age: Annotated[Duration, between(duration("1h"), duration("1y"))] = _setting(
        duration("1d"),
        "A file whose first line is this old is rotated.",
        unit="duration",
        why="one file a day is what people look for",
    )
    backups: Annotated[Count, between(0, 1000)] = _setting(
        10,
        "Rotated files that are kept; older ones are removed.",
        unit="files",
        why="with the default size at most 220 MiB",
    )


class LogSettings(Section):
    """What the daemon logs and where."""

    level: LogLevel = _setting(
        LogLevel.INFO, "Lines of this level and above are written.", why="states, not steps"
    )
    format: LogFormat = _setting(
        LogFormat.AUTO,
        "`json`, `console`, or `auto`: console on a terminal, else JSON lines.",
        why="people read terminals, programs read everything else",
    )
    file: LogFileSettings | None = _setting(
        None, "A log file of its own.", why="under systemd or in a container the journal has it"
    )


class WebSettings(Section):
    """Who may talk to the daemon over HTTP."""

    auth_token: SecretStr | None = _setting(
        None,
        "Bearer token of at least 32 random bytes. A secret: from the environment, the secrets "
        "directory or `auth_token_file`, never from this file.",
        why="without one only this machine is answered",
    )
    auth_token_file: FilePath | None = _setting(
        None, "File that holds the token alone; readable by its owner alone."
    )
    allowed_hosts: tuple[Text, ...] = _setting(
        (),
        "Names besides loopback and the listening address that requests may call the daemon by.",
        why="any other name in a request is DNS rebinding",
    )
    metrics_public: Flag = _setting(
        False, "Serve `/metrics` without the token.", why="metrics show positions and P&L"
    )
    trust_tls_proxy: Flag = _setting(
        False,
        "A proxy that ends TLS and decides who may read stands in front; allows listening off "
        "loopback without a token.",
        why="must be said, never guessed",
    )


class StorageSettings(Section):
    """How long data are kept and how much of them."""

    metrics_retention: Annotated[Duration, between(duration("1h"), duration("10y"))] = _setting(
        duration("30d"),
        "Samples, snapshots and events older than this are removed.",
        unit="duration",
        why="asked for by the requirements of the equity engine",
    )
    alerts_retention: Annotated[Duration, between(duration("1h"), duration("10y"))] = _setting(
        duration("90d"),
        "Alerts and alert files older than this are removed.",
        unit="duration",
        why="a quarter, so that quarterly reviews find them",
    )
    max_series: Annotated[Count, between(1_000, 100_000_000)] = _setting(
        1_000_000,
        "Series in all; new ones beyond it are refused and counted.",
        unit="series",
        why="about 1 GB of memory at worst",
    )
    max_series_per_engine: Annotated[Count, between(10, 1_000_000)] = _setting(
        2_000,
        "Series of one engine; new ones beyond it are refused and counted.",
        unit="series",
        why="a label with order ids is stopped before it hurts",
    )


class SnapshotSettings(Section):
    """Files with the current metrics, written at an interval."""

    enabled: Flag = _setting(True, "Write `metrics_<timestamp>.json` files.")
    interval: Annotated[Duration, between(duration("1s"), duration("1d"))] = _setting(
        duration("60s"), "Time between two files.", unit="duration", why="1,440 small files a day"
    )
    directory: FilePath = _setting(
        Path("data/monitoring"),
        "Where they are written. A relative path lies below the data directory.",
    )


class CooldownSettings(Section):
    """The shortest time between two notifications of one alert."""

    info: Annotated[Duration, between(duration("0"), duration("1d"))] = _setting(
        duration("600s"), "After an INFO notification.", unit="duration", why="nobody waits for it"
    )
    warning: Annotated[Duration, between(duration("0"), duration("1d"))] = _setting(
        duration("300s"), "After a WARNING notification.", unit="duration", why="time to look"
    )
    critical: Annotated[Duration, between(duration("0"), duration("1d"))] = _setting(
        duration("60s"), "After a CRITICAL notification.", unit="duration", why="time to act"
    )
    emergency: Annotated[Duration, between(duration("0"), duration("1d"))] = _setting(
        duration("10s"), "After an EMERGENCY notification.", unit="duration", why="money is burning"
    )


class AlertSettings(Section):
    """When people are told, and where alerts are written."""

    directory: FilePath = _setting(
        Path("logs/alerts"),
        "Where `<date>.jsonl` files are written. A relative path lies below the data directory.",
    )
    cooldowns: CooldownSettings = _section(
        CooldownSettings, "The shortest time between two notifications of one alert, by severity."
    )
    repeat_interval: Annotated[Duration, between(duration("1m"), duration("30d"))] = _setting(
        duration("4h"),
        "Time between reminders of an alert that nobody has acknowledged.",
        unit="duration",
        why="half a shift",
    )
    recipients: tuple[Text, ...] = _setting(
        (),
        "People to be told, as addresses or chat names; named in every notification.",
        why="delivery by mail or chat belongs to receivers of that kind",
    )


class MonitoringSettings(Section):
    """Monitoring as a whole."""

    enabled: Flag = _setting(
        True, "False: nothing is recorded, read, written or served; the engine trades on."
    )
    heartbeat_interval: Annotated[Duration, between(duration("1s"), duration("1d"))] = _setting(
        duration("60s"),
        "An engine that declares no cadence counts as stalled after so long without a tick.",
        unit="duration",
        why="asked for by the requirements of the equity engine",
    )


class EngineSettings(Section):
    """An engine that is expected to run."""

    name: Name = _required("The name that the engine gives its Recorder.")
    cadence: Annotated[Duration, between(duration("1ms"), duration("1d"))] | None = _setting(
        None,
        "Expected time between two ticks; a stall is three of them, at least 2 s.",
        unit="duration",
        why="what the engine itself declares is used",
    )
    grace: Annotated[Duration, between(duration("0"), duration("1d"))] = _setting(
        duration("60s"),
        "Time for its first tick to come, after the daemon or the engine has started.",
        unit="duration",
        why="engines load history first",
    )


class ArtifactSettings(Section):
    """A file whose age matters: a model, a calibration, a universe."""

    name: Name = _required("What it is called in metrics and alerts, e.g. `teacher_model`.")
    path: FilePath = _required("The file. A relative path lies beside the configuration file.")
    engine: Name | None = _setting(None, "The engine that uses it; becomes the label `engine`.")


class SessionSettings(Section):
    """When the market is open, for rules that only count trading time."""

    name: Name = _setting("market", "The value of the label `calendar`.")
    timezone: TimeZoneName | None = _setting(
        None, "IANA time zone of `open` and `close`.", why="the top-level `timezone`"
    )
    weekdays: tuple[Weekday, ...] = _setting(
        ("mon", "tue", "wed", "thu", "fri"), "Days with a session."
    )
    open: TimeOfDay = _required("Start of the session, e.g. `09:15`.")
    close: TimeOfDay = _required(
        "End of the session, e.g. `15:30`; earlier than `open` means the next day."
    )
    holidays: tuple[Day, ...] = _setting((), "Dates without a session, e.g. `2026-12-25`.")

    @model_validator(mode="after")
    def _check_times(self) -> SessionSettings:
        if self.open == self.close:
            raise ValueError(
                "open and close are the same time; leave the section out if it never closes"
            )
        return self


class PackSettings(Section):
    """A pack of rules and metric definitions, with its thresholds."""

    name: Text = _required("A built-in pack such as `engine`, or a directory with a `pack.yaml`.")
    thresholds: dict[str, Number] = _setting(
        {}, "Values that replace the pack's defaults; `tapewatch config show` lists them all."
    )


class _ReceiverBase(Section):
    name: Name = _required("The receiver's name in tables, metrics and logs.")
    min_severity: Severity = _setting(
        AlertSeverity.INFO, "Alerts below it are not sent here.", why="filter by purpose"
    )
    send_resolved: Flag = _setting(True, "Tell when an alert has ended.")
    reminders: Flag = _setting(True, "Repeat what nobody has acknowledged.")
    send_acknowledged: Flag = _setting(False, "Tell when a person takes an alert.")


class LogReceiverSettings(_ReceiverBase):
    """Writes each notification as a line of the daemon's log."""

    kind: Literal["log"] = _required("`log`")
    send_acknowledged: Flag = _setting(True, "Tell when a person takes an alert.")


class JsonlReceiverSettings(_ReceiverBase):
    """Appends each notification to `<date>.jsonl` in the alert directory."""

    kind: Literal["jsonl"] = _required("`jsonl`")
    directory: FilePath | None = _setting(
        None,
        "Another directory. A relative path lies below the data directory.",
        why="`alerts.directory`",
    )
    send_acknowledged: Flag = _setting(True, "Tell when a person takes an alert.")


class WebhookReceiverSettings(_ReceiverBase):
    """Posts each notification as JSON in the shape of Alertmanager's webhook."""

    kind: Literal["webhook"] = _required("`webhook`")
    url: SecretUrl | None = _setting(None, "Where to post. Shown without its path and query.")
    url_file: FilePath | None = _setting(
        None, "File that holds the URL, when the URL itself is a secret."
    )
    secret: SecretStr | None = _setting(
        None,
        "Signs each request, so that the other side can tell who sent it. A secret: from the "
        "environment, the secrets directory or `secret_file`, never from this file.",
    )
    secret_file: FilePath | None = _setting(
        None, "File that holds the secret alone; readable by its owner alone."
    )
    deadline: Annotated[Duration, between(duration("100ms"), duration("5m"))] = _setting(
        duration("10s"), "Longest time for one attempt.", unit="duration", why="then it is retried"
    )


ReceiverSettings = Annotated[
    LogReceiverSettings | JsonlReceiverSettings | WebhookReceiverSettings,
    Field(discriminator="kind"),
]


def _named_packs(value: Any) -> Any:
    """Accept a bare name for a pack whose defaults are good."""
    if isinstance(value, list | tuple):
        return [{"name": item} if isinstance(item, str) else item for item in value]
    return value


class Settings(Section):
    """Everything that can be set."""

    data_dir: FilePath | None = _setting(
        None,
        "Where tapes, stores, the lock and the socket lie. Recorders do not read this file: set "
        "`TAPEWATCH_DATA_DIR` for both when it is not the default.",
        why="`$STATE_DIRECTORY`, else `$XDG_STATE_HOME/tapewatch`, else `~/.local/state/tapewatch`",
    )
    listen: ListenAddress = _setting(
        ListenAddress("127.0.0.1", 8090),
        "Host and port of the web page, the APIs and `/metrics`.",
        why="this machine only; the port that the documents name",
    )
    timezone: TimeZoneName = _setting(
        "UTC",
        "IANA time zone of alert times, of the dates of alert files and of sessions.",
        why="means the same everywhere",
    )
    monitoring: MonitoringSettings = _section(MonitoringSettings, "Monitoring as a whole.")
    log: LogSettings = _section(LogSettings, "What the daemon logs and where.")
    web: WebSettings = _section(WebSettings, "Who may talk to the daemon over HTTP.")
    storage: StorageSettings = _section(StorageSettings, "How long data are kept, and how much.")
    snapshots: SnapshotSettings = _section(
        SnapshotSettings, "Files with the current metrics, written at an interval."
    )
    alerts: AlertSettings = _section(
        AlertSettings, "When people are told, and where alerts are written."
    )
    engines: tuple[EngineSettings, ...] = _setting(
        (), "Engines that are expected to run; others are watched from their first tick on."
    )
    artifacts: tuple[ArtifactSettings, ...] = _setting((), "Files whose age matters.")
    session: SessionSettings | None = _setting(
        None, "When the market is open.", why="without it the session is always open"
    )
    packs: Annotated[tuple[PackSettings, ...], BeforeValidator(_named_packs)] = _setting(
        tuple(PackSettings(name=name) for name in DEFAULT_PACKS),
        "Packs of rules, each a name or a mapping with `name` and `thresholds`.",
        why="the rules of the equity engine fit most engines, and the watcher needs watching",
    )
    rules: tuple[Text, ...] = _setting(
        (),
        "Prometheus rule files as paths or glob patterns. A relative one lies beside this file.",
    )
    receivers: tuple[ReceiverSettings, ...] = _setting(
        (
            LogReceiverSettings(name="log", kind="log"),
            JsonlReceiverSettings(name="jsonl", kind="jsonl"),
        ),
        "Who is told about alerts.",
        why="a log line and a file need nothing else",
    )
