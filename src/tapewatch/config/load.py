"""Read every setting from where it may stand, highest first, and remember where each came from.

Flags go before environment variables, these before the secrets directory, then the configuration
file, then the defaults of the model. Everything that is wrong is reported in one pass.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from tapewatch.config.complaints import complaints
from tapewatch.config.crosscheck import cross_check
from tapewatch.config.environment import (
    CONFIG_VARIABLE,
    PREFIX,
    SECRETS_VARIABLE,
    NamedValue,
    from_environment,
    locate,
    typed,
)
from tapewatch.config.fields import zone
from tapewatch.config.model import DEFAULT_PACKS, Settings, WebhookReceiverSettings
from tapewatch.config.origin import DEFAULT, Origin, OriginKind, nearest_origin, problem_at
from tapewatch.config.salvage import Remains, salvage
from tapewatch.config.secret_file import read_secret
from tapewatch.config.shape import FILE_SUFFIX, dotted, fields_at, is_secret, keys_at, models_in
from tapewatch.config.shape import Path as SettingPath
from tapewatch.config.yaml_document import MAX_BYTES, YamlDocument, read_yaml
from tapewatch.model.errors import ConfigError, Problem
from tapewatch.record.paths import data_directory

CONFIG_NAME = "tapewatch.yaml"
SOCKET = "tapewatch.sock"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True, slots=True)
class FlagValue:
    """A setting given on the command line."""

    flag: str
    """As typed, for example ``--listen``."""
    setting: str
    """Dotted, for example ``storage.metrics_retention``."""
    text: str


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The effective settings, and where each came from."""

    settings: Settings
    origins: Mapping[SettingPath, Origin]
    """By path; only what was given. Everything else is a default."""
    path: Path | None
    """The configuration file; None when there is none."""
    data_dir: Path
    """Absolute. It may not exist yet."""
    warnings: tuple[str, ...] = ()
    flags: tuple[FlagValue, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def origin(self, path: SettingPath) -> Origin:
        """Return where the value at a path came from: given itself, or as part of a whole."""
        return nearest_origin(self.origins, path)

    def beside_file(self, path: Path) -> Path:
        """Return a path of the file made absolute: relative ones lie beside the file."""
        base = self.path.parent if self.path is not None else Path.cwd()
        return path if path.is_absolute() else base / path

    def below_data(self, path: Path) -> Path:
        """Return an output path made absolute: relative ones lie below the data directory."""
        return path if path.is_absolute() else self.data_dir / path

    @property
    def alerts_directory(self) -> Path:
        """Where ``<date>.jsonl`` files are written."""
        return self.below_data(self.settings.alerts.directory)

    @property
    def snapshots_directory(self) -> Path:
        """Where ``metrics_<timestamp>.json`` files are written."""
        return self.below_data(self.settings.snapshots.directory)

    @property
    def socket_path(self) -> Path:
        """The Unix socket that the command line talks to."""
        return self.data_dir / SOCKET

    @property
    def zone(self) -> tzinfo:
        """The zone of alert times and file dates; UTC needs no database."""
        return zone(self.settings.timezone)

    def webhook_url(self, receiver: WebhookReceiverSettings) -> str:
        """Return where a webhook goes, whether written down or read from its file."""
        if receiver.url is None:
            raise ValueError(f"receiver {receiver.name} was not loaded: it has no url")
        return receiver.url.text

    def webhook_secret(self, receiver: WebhookReceiverSettings) -> str | None:
        """Return what signs a webhook's requests; None leaves them unsigned."""
        return receiver.secret.get_secret_value() if receiver.secret is not None else None

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must not be shown: secrets, and URLs that carry one."""
        found = []
        token = self.settings.web.auth_token
        if token is not None:
            found.append(token.get_secret_value())
        for receiver in self.settings.receivers:
            if isinstance(receiver, WebhookReceiverSettings):
                url = self.webhook_url(receiver)
                path = urlsplit(url)._replace(scheme="", netloc="").geturl()
                found += [url, path] if path.strip("/") else []
                found += [secret] if (secret := self.webhook_secret(receiver)) else []
        return tuple(found)

    def problem(self, path: SettingPath, message: str) -> Problem:
        """Return a problem with the value at a path, placed where the value was given."""
        return problem_at(self.origin(path), message)

    def reload(self) -> LoadedConfig:
        """Read everything again from the same places.

        Raises:
            ConfigError: Something is wrong; this configuration stays as it is.
        """
        return self.examine_again().whole()

    def examine_again(self) -> ExaminedConfig:
        """Look at everything again in the same places."""
        if self.path is not None and not self.path.exists():
            gone = Problem(str(self.path), 0, 0, "the configuration file is gone")
            return ExaminedConfig(None, (gone,), "put it back, or restart without it")
        return examine_config(self.path, flags=self.flags, environ=self.environ)


@dataclass(frozen=True, slots=True)
class ExaminedConfig:
    """What a look at the configuration has found."""

    config: LoadedConfig | None
    """With problems: only what is left without them, fit for finding more and for nothing else.
    None where nothing could be read."""
    problems: tuple[Problem, ...] = ()
    next_step: str = ""

    def whole(self) -> LoadedConfig:
        """Return the configuration.

        Raises:
            ConfigError: With the problems, if there is any.
        """
        if self.problems or self.config is None:
            raise ConfigError(self.problems, next_step=self.next_step)
        return self.config


def load_config(
    path: Path | None = None,
    *,
    flags: Sequence[FlagValue] = (),
    environ: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Return the effective settings.

    Args:
        path: The configuration file; None looks for it, see ``find_config``.
        flags: What the command line says.
        environ: The environment; None takes the process's own.

    Raises:
        ConfigError: With every problem found, each with its place.
    """
    return examine_config(path, flags=flags, environ=environ).whole()


def examine_config(
    path: Path | None = None,
    *,
    flags: Sequence[FlagValue] = (),
    environ: Mapping[str, str] | None = None,
) -> ExaminedConfig:
    """Return the effective settings with all that is wrong; arguments as of ``load_config``."""
    environ = dict(os.environ if environ is None else environ)
    named = path is not None or bool(environ.get(CONFIG_VARIABLE))
    path = path or find_config(environ)
    problems: list[Problem] = []
    try:
        document = _read_file(path, problems, named=named) if path is not None else None
    except ConfigError as error:
        return ExaminedConfig(None, error.problems, error.next_step)
    loader = _Loader(path.absolute() if path else None, document, flags, environ, problems)
    return loader.examine()


def find_config(environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file to use when no flag names one; None if there is none.

    ``TAPEWATCH_CONFIG``, else ``tapewatch/tapewatch.yaml`` below ``XDG_CONFIG_HOME`` (default
    ``~/.config``), else ``/etc/tapewatch/tapewatch.yaml``.
    """
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE]).expanduser()
    for candidate in (user_config(environ), Path("/etc/tapewatch") / CONFIG_NAME):
        if candidate is not None and candidate.is_file():
            return candidate
    return None


def user_config(environ: Mapping[str, str]) -> Path | None:
    """Return where a user's own configuration lies; None if there is no home directory."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if base.startswith("/"):
        return Path(base) / "tapewatch" / CONFIG_NAME
    home = environ.get("HOME", "")
    return Path(home) / ".config" / "tapewatch" / CONFIG_NAME if home else None


def _read_file(path: Path, problems: list[Problem], *, named: bool) -> YamlDocument | None:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8")
    except FileNotFoundError:
        if not named:
            return None
        raise ConfigError(
            [Problem(str(path), 0, 0, "the configuration file does not exist")],
            next_step=f"write a commented one with: tapewatch init {path}",
        ) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            [Problem(str(path), line, 0, "not UTF-8 text")], next_step="save it as UTF-8"
        ) from None
    return read_yaml(text, str(path), problems)


class _Loader:
    """Lays the places over each other, validates the whole and places the complaints."""

    def __init__(
        self,
        path: Path | None,
        document: YamlDocument | None,
        flags: Sequence[FlagValue],
        environ: dict[str, str],
        problems: list[Problem],
    ) -> None:
        self._path = path
        self._document = document
        self._flags = tuple(flags)
        self._environ = environ
        self._origins: dict[SettingPath, Origin] = {}
        self._problems = problems
        # What could not be read as it stands is no ground for a second complaint.
        self._unread = {(p.path, p.line, p.column) for p in problems}
        self._refused: list[SettingPath] = []
        self._warnings: list[str] = []
        self._data: dict[str, Any] = {}

    def examine(self) -> ExaminedConfig:
        self._lay_file()
        self._lay_secrets_directory()
        self._lay_environment()
        self._lay_flags()
        self._read_secret_files()
        remains: Remains | None
        try:
            remains = Remains(Settings.model_validate(self._data), self._origins)
        except ValidationError as error:
            for path, at_key, sentence in complaints(error, Settings, self._data):
                self._complain(path, sentence, at_key=at_key)
            remains = salvage(self._data, self._origins, self._refused)
        if remains is None:
            return ExaminedConfig(None, self._sorted_problems())
        self._cross_check(remains)
        config = LoadedConfig(
            settings=remains.settings,
            origins=remains.origins,
            path=self._path,
            data_dir=self._data_dir(remains.settings),
            warnings=tuple(self._warnings),
            flags=self._flags,
            environ=self._environ,
        )
        return ExaminedConfig(config, self._sorted_problems())

    def _cross_check(self, remains: Remains) -> None:
        """Complain of what does not fit together, where what was refused is no part of it."""
        refused = list(self._refused)
        for path, sentence in cross_check(remains.settings):
            doubtful = any(
                known[: len(path)] == path or (path == ("listen",) and known[:1] == ("web",))
                for known in refused
            )
            if not doubtful and path[0] not in remains.moved:
                self._complain(path, sentence)

    def _sorted_problems(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._problems, key=lambda p: (p.path, p.line, p.column)))

    def _data_dir(self, settings: Settings) -> Path:
        if settings.data_dir is None:
            return data_directory()
        origin = self._origins.get(("data_dir",), DEFAULT)
        if origin.kind is OriginKind.FILE and self._path is not None:
            return data_directory(self._path.parent / settings.data_dir)
        return data_directory(settings.data_dir)

    def _lay_file(self) -> None:
        if self._document is None:
            return
        data = self._document.data
        if data is None:
            data = {}
        if not isinstance(data, dict):
            self._problems.append(
                self._document.problem((), "expected a mapping of settings at the top")
            )
            return
        self._data = copy.deepcopy(data)
        self._note_origins(self._data, ())
        self._drop_empty_sections(self._data, ())
        self._refuse_written_secrets(self._data, ())

    def _note_origins(self, value: Any, path: SettingPath) -> None:
        assert self._document is not None  # noqa: S101 - called with a document only
        if path:
            line, column = self._document.position(path)
            name = str(self._document.path)
            self._origins[path] = Origin(OriginKind.FILE, name, line, column)
        if isinstance(value, dict):
            for key, inner in value.items():
                self._note_origins(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._note_origins(inner, (*path, index))

    def _drop_empty_sections(self, value: Any, path: SettingPath) -> None:
        """A section whose keys are all commented out reads as null: it says nothing."""
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._drop_empty_sections(item, (*path, index))
        elif isinstance(value, dict):
            for key in list(value):
                inner = (*path, key)
                if value[key] is None and (keys_at(Settings, inner) or _is_collection(inner)):
                    del value[key]
                else:
                    self._drop_empty_sections(value[key], inner)

    def _refuse_written_secrets(self, value: Any, path: SettingPath) -> None:
        if isinstance(value, dict):
            for key in list(value):
                inner = (*path, key)
                if any(is_secret(f) for f in fields_at(Settings, inner)):
                    variable = PREFIX + "__".join(str(p) for p in inner).upper()
                    self._complain(
                        inner,
                        f"{dotted(inner)} is a secret and must not stand in this file; put it in "
                        f"a file of mode 0600 and set {key}{FILE_SUFFIX}"
                        + (f", or set {variable}" if "receivers" not in inner else ""),
                    )
                    del value[key]
                else:
                    self._refuse_written_secrets(value[key], inner)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._refuse_written_secrets(item, (*path, index))

    def _lay_secrets_directory(self) -> None:
        directory = self._environ.get(SECRETS_VARIABLE) or self._environ.get(_CREDENTIALS)
        if not directory:
            return
        prefix = PREFIX.lower()
        try:
            entries = sorted(Path(directory).iterdir())
        except OSError as error:
            self._problems.append(
                Problem(directory, 0, 0, f"the secrets directory cannot be read: {error.strerror}")
            )
            return
        for entry in entries:
            name = entry.name.lower()
            found = locate(Settings, self._with_packs(), name.removeprefix(prefix))
            if found is None or not entry.is_file():
                # systemd and container platforms put other programs' secrets here as well.
                if name.startswith(prefix):
                    self._problems.append(Problem(str(entry), 0, 0, "no setting has this name"))
                continue
            try:
                text = read_secret(entry, managed=True)
                value = NamedValue(found, str(entry), typed(Settings, found, text, str(entry)))
            except ValueError as error:
                self._problems.append(Problem("", 0, 0, str(error)))
            except ConfigError as error:
                self._problems.extend(error.problems)
            else:
                self._lay(value, OriginKind.SECRET_FILE)

    def _lay_environment(self) -> None:
        values, problems, warnings = from_environment(Settings, self._with_packs(), self._environ)
        self._problems += problems
        self._warnings += warnings
        for value in values:
            self._lay(value, OriginKind.ENVIRONMENT)

    def _lay_flags(self) -> None:
        for given in self._flags:
            path = tuple(given.setting.split("."))
            try:
                value = typed(Settings, path, given.text, given.flag)
            except ConfigError as error:
                self._problems.extend(error.problems)
            else:
                self._lay(NamedValue(path, given.flag, value), OriginKind.FLAG)

    def _lay(self, given: NamedValue, kind: OriginKind) -> None:
        if given.path[0] == "packs":
            self._data = self._with_packs()
        here: Any = self._data
        for part in given.path[:-1]:
            if isinstance(here, dict):
                inner = here.get(part)
                here[part] = inner if isinstance(inner, dict | list) else {}
            here = here[part]
        here[given.path[-1]] = given.value
        for known in [p for p in self._origins if p[: len(given.path)] == given.path]:
            del self._origins[known]
        self._origins[given.path] = Origin(kind, given.name)

    def _with_packs(self) -> dict[str, Any]:
        """Return the data with packs written out, so that one can be named in a variable."""
        packs = self._data.get("packs", list(DEFAULT_PACKS))
        if not isinstance(packs, list):
            return self._data
        return self._data | {"packs": [{"name": p} if isinstance(p, str) else p for p in packs]}

    def _read_secret_files(self) -> None:
        for section, path in list(_sections(self._data, ())):
            for key in keys_at(Settings, path):
                file_key = key + FILE_SUFFIX
                if file_key not in section or section.get(key) is not None:
                    continue
                named = section[file_key]
                if not isinstance(named, str) or not named.strip():
                    continue
                file = Path(named).expanduser()
                if self._path is not None and not file.is_absolute():
                    file = self._path.parent / file
                try:
                    text = read_secret(file)
                except ValueError as error:
                    self._complain((*path, file_key), f"{dotted((*path, file_key))}: {error}")
                    continue
                secret = any(is_secret(f) for f in fields_at(Settings, (*path, key)))
                section[key] = SecretStr(text) if secret else text
                self._origins[(*path, key)] = Origin(OriginKind.SECRET_FILE, str(file))

    def _complain(self, path: SettingPath, sentence: str, *, at_key: bool = False) -> None:
        self._refused.append(path)
        origin = nearest_origin(self._origins, path)
        if self._document is not None and origin.kind in (OriginKind.DEFAULT, OriginKind.FILE):
            problem = self._document.problem(path, sentence, at_key=at_key)
        else:
            problem = problem_at(origin, sentence)
        if not problem.line or (problem.path, problem.line, problem.column) not in self._unread:
            self._problems.append(problem)


def _is_collection(path: SettingPath) -> bool:
    return any(
        isinstance(f.default, tuple | dict) or models_in(f.annotation)
        for f in fields_at(Settings, path)
    )


def _sections(value: Any, path: SettingPath) -> Any:
    if isinstance(value, dict):
        yield value, path
        for key, inner in value.items():
            yield from _sections(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _sections(inner, (*path, index))
