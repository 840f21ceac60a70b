"""Where a setting may stand, which place wins, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tapewatch.config.load import FlagValue, LoadedConfig, find_config, load_config
from tapewatch.config.model import WebhookReceiverSettings
from tapewatch.config.origin import OriginKind
from tapewatch.model.errors import ConfigError
from tapewatch.model.severity import AlertSeverity

Load = Callable[..., LoadedConfig]
TOKEN = "kD3vX9_qLw7RzT1bN5yHcJ8mPfA2sGuE4oViQ6xYt0M"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration text with an environment and flags of the test's own."""

    def load(
        text: str = "", environ: Mapping[str, str] | None = None, **flags: str
    ) -> LoadedConfig:
        path = tmp_path / "tapewatch.yaml"
        path.write_text(text, encoding="utf-8")
        given = [FlagValue(f"--{n.replace('_', '-')}", n, v) for n, v in flags.items()]
        home = {"HOME": str(tmp_path), "TAPEWATCH_DATA_DIR": str(tmp_path / "data")}
        return load_config(path, flags=given, environ={**home, **(environ or {})})

    return load


def problems(caught: pytest.ExceptionInfo[ConfigError]) -> str:
    return "\n".join(str(problem) for problem in caught.value.problems)


class TestPrecedence:
    @pytest.mark.requirement("C-10", "S1-62")
    def test_flag_then_environment_then_file_then_default(self, load: Load) -> None:
        text = "listen: 127.0.0.1:1111\n"
        environ = {"TAPEWATCH_LISTEN": "127.0.0.1:2222"}
        assert str(load().settings.listen) == "127.0.0.1:8090"
        assert str(load(text).settings.listen) == "127.0.0.1:1111"
        assert str(load(text, environ).settings.listen) == "127.0.0.1:2222"
        assert str(load(text, environ, listen="127.0.0.1:3333").settings.listen) == "127.0.0.1:3333"

    def test_the_secrets_directory_stands_between_file_and_environment(
        self, load: Load, tmp_path: Path
    ) -> None:
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        (secrets / "tapewatch_timezone").write_text("Asia/Kolkata\n")
        (secrets / "somebody_elses_password").write_text("not ours\n")
        environ = {"TAPEWATCH_SECRETS_DIR": str(secrets)}
        loaded = load("timezone: Europe/Berlin\n", environ)
        assert loaded.settings.timezone == "Asia/Kolkata"
        assert loaded.origin(("timezone",)).kind is OriginKind.SECRET_FILE
        environ["TAPEWATCH_TIMEZONE"] = "UTC"
        assert load("", environ).settings.timezone == "UTC"

    def test_systemd_credentials_are_a_secrets_directory(self, load: Load, tmp_path: Path) -> None:
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        (credentials / "tapewatch_web__auth_token").write_text(TOKEN)
        loaded = load("listen: 0.0.0.0:8090\n", {"CREDENTIALS_DIRECTORY": str(credentials)})
        assert loaded.settings.web.auth_token.get_secret_value() == TOKEN

    def test_a_misnamed_file_of_ours_in_the_secrets_directory_is_refused(
        self, load: Load, tmp_path: Path
    ) -> None:
        (tmp_path / "tapewatch_web__auth_tokn").write_text(TOKEN)
        with pytest.raises(ConfigError, match="no setting has this name"):
            load("", {"TAPEWATCH_SECRETS_DIR": str(tmp_path)})

    def test_every_value_knows_where_it_came_from(self, load: Load, tmp_path: Path) -> None:
        loaded = load(
            "timezone: UTC\nstorage:\n  metrics_retention: 7d\n",
            {"TAPEWATCH_LOG__LEVEL": "debug"},
            listen="127.0.0.1:1",
        )
        file = tmp_path / "tapewatch.yaml"
        assert str(loaded.origin(("timezone",))) == f"{file}:1"
        assert str(loaded.origin(("storage", "metrics_retention"))) == f"{file}:3"
        assert str(loaded.origin(("storage", "alerts_retention"))) == f"{file}:3"
        assert str(loaded.origin(("log", "level"))) == "environment TAPEWATCH_LOG__LEVEL"
        assert str(loaded.origin(("listen",))) == "flag --listen"
        assert str(loaded.origin(("snapshots", "interval"))) == "default"


class TestEnvironment:
    @pytest.mark.requirement("S5-20", "S5-21", "S5-22")
    def test_text_becomes_what_the_setting_is_made_of(self, load: Load) -> None:
        loaded = load(
            "",
            {
                "TAPEWATCH_MONITORING__ENABLED": "no",
                "TAPEWATCH_MONITORING__HEARTBEAT_INTERVAL": "90",
                "TAPEWATCH_STORAGE__MAX_SERIES": "5000",
                "TAPEWATCH_ALERTS__RECIPIENTS": "ops@example.org, @desk",
                "TAPEWATCH_ENGINES": '[{"name": "momentum", "cadence": "1s"}]',
                "TAPEWATCH_SESSION": '{"open": "09:15", "close": "15:30"}',
                "TAPEWATCH_RULES": "",
            },
        ).settings
        assert loaded.monitoring.enabled is False
        assert loaded.monitoring.heartbeat_interval.seconds == 90
        assert loaded.storage.max_series == 5000
        assert loaded.alerts.recipients == ("ops@example.org", "@desk")
        assert loaded.engines[0].name == "momentum"
        assert loaded.session.open.isoformat() == "09:15:00"

    def test_an_item_of_a_list_is_named_by_its_name(self, load: Load) -> None:
        loaded = load(
            "receivers:\n  - {name: log, kind: log}\n"
            "  - {name: night-desk, kind: webhook, url: 'http://127.0.0.1/'}\n",
            {"TAPEWATCH_RECEIVERS__NIGHT_DESK__SECRET": "signs-every-request"},
        )
        webhook = loaded.settings.receivers[1]
        assert isinstance(webhook, WebhookReceiverSettings)
        assert loaded.webhook_secret(webhook) == "signs-every-request"

    @pytest.mark.parametrize("packs", ["", "packs: [engine]\n", "packs: [{name: engine}]\n"])
    def test_a_threshold_of_a_pack_can_be_set_alone(self, load: Load, packs: str) -> None:
        environ = {"TAPEWATCH_PACKS__ENGINE__THRESHOLDS__DAILY_LOSS_WARNING_PCT": "2.5"}
        settings = load(packs, environ).settings
        assert settings.packs[0].thresholds == {"daily_loss_warning_pct": 2.5}

    def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(self, load: Load) -> None:
        with pytest.raises(ConfigError) as caught:
            load("", {"TAPEWATCH_STORAGE__METRIC_RETENTION": "1d"})
        assert problems(caught) == (
            "environment variable TAPEWATCH_STORAGE__METRIC_RETENTION: no such setting; "
            "did you mean TAPEWATCH_STORAGE__METRICS_RETENTION?"
        )

    def test_what_a_container_platform_sets_by_itself_does_no_harm(self, load: Load) -> None:
        platform = {"TAPEWATCH_SERVICE_HOST": "10.0.0.1", "TAPEWATCH_PORT": "tcp://10.0.0.1:8090"}
        assert load("", platform).warnings == ()

    def test_a_variable_that_looks_misspelt_is_warned_of(self, load: Load) -> None:
        assert load("", {"TAPEWATCH_LISTN": "127.0.0.1:1"}).warnings == (
            "environment variable TAPEWATCH_LISTN means nothing; did you mean TAPEWATCH_LISTEN?",
        )

    def test_a_bad_value_names_its_variable(self, load: Load) -> None:
        with pytest.raises(ConfigError) as caught:
            load("", {"TAPEWATCH_LOG__LEVEL": "loud", "TAPEWATCH_ENGINES": "[{"})
        assert "environment TAPEWATCH_LOG__LEVEL: log.level: found" in problems(caught)
        assert "environment variable TAPEWATCH_ENGINES:1:" in problems(caught)


class TestFile:
    @pytest.mark.requirement("T16")
    def test_words_and_hours_that_yaml_once_mangled_stay_what_they_are(self, load: Load) -> None:
        settings = load(
            "engines: [{name: no}, {name: on}]\n"
            "session: {open: 09:30, close: 15:30, holidays: [2026-12-25]}\n"
        ).settings
        assert [engine.name for engine in settings.engines] == ["no", "on"]
        assert settings.session.open.hour == 9
        assert settings.session.close.minute == 30
        assert settings.session.holidays[0].isoformat() == "2026-12-25"

    def test_a_section_with_everything_commented_out_says_nothing(self, load: Load) -> None:
        assert load("web:\nalerts:\n  cooldowns:\nengines:\n").settings == load().settings

    def test_an_empty_file_is_all_defaults(self, load: Load) -> None:
        assert load("# nothing\n").settings == load().settings

    def test_a_named_file_that_is_missing_is_an_error_and_says_how_to_make_one(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigError, match=r"does not exist.*tapewatch init"):
            load_config(tmp_path / "absent.yaml", environ={})
        with pytest.raises(ConfigError, match="does not exist"):
            load_config(environ={"TAPEWATCH_CONFIG": str(tmp_path / "absent.yaml")})

    def test_without_a_file_anywhere_the_defaults_hold(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path)}
        assert find_config(environ) is None
        assert load_config(environ=environ).path is None

    def test_the_users_own_file_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "tapewatch" / "tapewatch.yaml"
        path.parent.mkdir()
        path.write_text("timezone: Asia/Kolkata\n")
        loaded = load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)})
        assert loaded.path == path
        assert loaded.settings.timezone == "Asia/Kolkata"

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"timezone: \xff\n", "not UTF-8"),
            (b"x: " + b"y" * (1 << 20), "larger than"),
            (b"a: [" * 40, "nested deeper|not valid YAML"),
        ],
    )
    def test_what_is_no_sane_file_is_refused(
        self, tmp_path: Path, raw: bytes, message: str
    ) -> None:
        path = tmp_path / "tapewatch.yaml"
        path.write_bytes(raw)
        with pytest.raises(ConfigError, match=message):
            load_config(path, environ={})

    def test_a_directory_in_its_place_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(tmp_path, environ={})

    def test_severities_are_read_in_any_case(self, load: Load) -> None:
        text = "receivers: [{name: log, kind: log, min_severity: Critical}]\n"
        assert load(text).settings.receivers[0].min_severity is AlertSeverity.CRITICAL


class TestPaths:
    def test_outputs_lie_below_the_data_directory_and_inputs_beside_the_file(
        self, load: Load, tmp_path: Path
    ) -> None:
        loaded = load("artifacts: [{name: teacher_model, path: models/t.pkl}]\n")
        assert loaded.alerts_directory == tmp_path / "data" / "logs" / "alerts"
        assert loaded.snapshots_directory == tmp_path / "data" / "data" / "monitoring"
        assert loaded.socket_path == tmp_path / "data" / "tapewatch.sock"
        path = loaded.settings.artifacts[0].path
        assert loaded.beside_file(path) == tmp_path / "models" / "t.pkl"

    def test_a_data_directory_in_the_file_is_relative_to_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "tapewatch.yaml"
        path.write_text("data_dir: state\n")
        assert load_config(path, environ={}).data_dir == tmp_path / "state"

    def test_the_flag_for_the_data_directory_wins(self, load: Load, tmp_path: Path) -> None:
        assert load("", data_dir=str(tmp_path / "x")).data_dir == tmp_path / "x"


class TestDoor:
    @pytest.mark.requirement("T1")
    def test_loopback_needs_no_token(self, load: Load) -> None:
        for address in ("127.0.0.1:1", "[::1]:1", "localhost:1", "127.8.8.8:0"):
            assert load(f"listen: '{address}'\n").settings.listen.on_loopback

    @pytest.mark.requirement("T1")
    @pytest.mark.parametrize("address", ["0.0.0.0:8090", "[::]:8090", "10.0.0.5:1", "host:1"])
    def test_off_loopback_without_a_token_is_refused(self, load: Load, address: str) -> None:
        with pytest.raises(ConfigError, match="can be reached by other machines"):
            load(f"listen: '{address}'\n")

    @pytest.mark.requirement("T1")
    def test_off_loopback_goes_with_a_token_or_a_stated_proxy(self, load: Load) -> None:
        text = "listen: 0.0.0.0:8090\n"
        assert load(text, {"TAPEWATCH_WEB__AUTH_TOKEN": TOKEN})
        assert load(text + "web: {trust_tls_proxy: true}\n")

    @pytest.mark.requirement("T1")
    @pytest.mark.parametrize("token", ["short", "a" * 64, "change-me-" * 8, "example-token-" * 5])
    def test_a_token_that_can_be_guessed_is_refused(self, load: Load, token: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load("", {"TAPEWATCH_WEB__AUTH_TOKEN": token})
        assert "web.auth_token cannot be used" in problems(caught)
        assert token not in problems(caught)


class TestSecretFiles:
    def token_file(self, tmp_path: Path, mode: int = 0o600) -> Path:
        path = tmp_path / "token"
        path.write_text(TOKEN + "\n")
        path.chmod(mode)
        return path

    @pytest.mark.requirement("T27")
    def test_a_secret_is_read_from_its_file_without_the_line_end(
        self, load: Load, tmp_path: Path
    ) -> None:
        self.token_file(tmp_path)
        loaded = load("web: {auth_token_file: token}\n")
        assert loaded.settings.web.auth_token.get_secret_value() == TOKEN
        assert loaded.origin(("web", "auth_token")).kind is OriginKind.SECRET_FILE

    @pytest.mark.requirement("T27")
    def test_a_secret_that_others_can_read_is_refused(self, load: Load, tmp_path: Path) -> None:
        path = self.token_file(tmp_path, 0o644)
        with pytest.raises(ConfigError) as caught:
            load(f"web: {{auth_token_file: {path}}}\n")
        assert f"mode 0644, expected 0600); run: chmod 600 {path}" in problems(caught)

    def test_a_secret_file_can_be_a_variable(self, load: Load, tmp_path: Path) -> None:
        path = self.token_file(tmp_path)
        loaded = load("", {"TAPEWATCH_WEB__AUTH_TOKEN_FILE": str(path)})
        assert loaded.settings.web.auth_token.get_secret_value() == TOKEN

    def test_a_secret_variable_goes_before_its_file(self, load: Load, tmp_path: Path) -> None:
        path = self.token_file(tmp_path)
        other = TOKEN[::-1]
        loaded = load(f"web: {{auth_token_file: {path}}}\n", {"TAPEWATCH_WEB__AUTH_TOKEN": other})
        assert loaded.settings.web.auth_token.get_secret_value() == other

    def test_the_url_of_a_webhook_can_be_a_secret_too(self, load: Load, tmp_path: Path) -> None:
        path = tmp_path / "url"
        path.write_text("https://hooks.example.org/T0/B0/xyz\n")
        path.chmod(0o600)
        loaded = load(f"receivers: [{{name: ops, kind: webhook, url_file: {path}}}]\n")
        webhook = loaded.settings.receivers[0]
        assert isinstance(webhook, WebhookReceiverSettings)
        assert loaded.webhook_url(webhook) == "https://hooks.example.org/T0/B0/xyz"

    def test_an_empty_or_special_secret_file_is_refused(self, load: Load, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.touch(0o600)
        for path, reason in ((empty, "is empty"), (Path("/dev/null"), "not a regular file")):
            with pytest.raises(ConfigError, match=reason):
                load(f"web: {{auth_token_file: {path}}}\n")


class TestReload:
    @pytest.mark.requirement("S2-100", "F61")
    def test_a_reload_keeps_flags_and_variables(self, load: Load, tmp_path: Path) -> None:
        before = load("timezone: UTC\n", {"TAPEWATCH_LOG__LEVEL": "debug"}, listen="127.0.0.1:7")
        (tmp_path / "tapewatch.yaml").write_text("timezone: Asia/Kolkata\n")
        after = before.reload()
        assert after.settings.timezone == "Asia/Kolkata"
        assert after.settings.listen.port == 7
        assert after.settings.log.level == "debug"

    @pytest.mark.requirement("F61")
    @pytest.mark.parametrize("text", ["timezone: Nowhere\n", "timezone: [\n", "a: 1\n", "x"])
    def test_a_bad_reload_raises_and_leaves_the_old_settings_alone(
        self, load: Load, tmp_path: Path, text: str
    ) -> None:
        before = load("timezone: UTC\n")
        (tmp_path / "tapewatch.yaml").write_text(text)
        with pytest.raises(ConfigError):
            before.reload()
        assert before.settings.timezone == "UTC"

    @pytest.mark.requirement("F61")
    def test_a_reload_without_the_file_is_refused(self, load: Load, tmp_path: Path) -> None:
        before = load()
        (tmp_path / "tapewatch.yaml").unlink()
        with pytest.raises(ConfigError, match="is gone"):
            before.reload()
