"""The effective settings as people see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tapewatch.config.load import LoadedConfig, load_config
from tapewatch.config.view import MASK, config_view, shown_settings

CANARY = "kD3vX9_qLw7RzT1bN5yHcJ8mPfA2sGuE4oViQ6xYt0M"


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedConfig:
    path = tmp_path / "tapewatch.yaml"
    path.write_text(
        "receivers:\n"
        f"  - {{name: ops, kind: webhook, url: 'http://127.0.0.1:9/services/{CANARY}'}}\n"
        "  - {name: bare, kind: webhook, url: 'http://127.0.0.1:9/'}\n"
    )
    environ = {
        "TAPEWATCH_WEB__AUTH_TOKEN": CANARY,
        "TAPEWATCH_RECEIVERS__OPS__SECRET": CANARY,
        "TAPEWATCH_DATA_DIR": str(tmp_path),
    }
    return load_config(path, environ=environ)


@pytest.mark.requirement("T27")
def test_no_secret_is_in_any_form_of_the_settings(loaded: LoadedConfig) -> None:
    for text in (
        repr(loaded),
        str(loaded.settings),
        repr(loaded.settings.model_dump()),
        loaded.settings.model_dump_json(),
        json.dumps(config_view(loaded)),
        repr(shown_settings(loaded)),
    ):
        assert CANARY not in text


@pytest.mark.requirement("C-10", "T27")
def test_every_value_stands_beside_its_origin(loaded: LoadedConfig) -> None:
    settings = config_view(loaded)["settings"]
    assert settings["web.auth_token"] == {
        "value": MASK,
        "origin": "environment TAPEWATCH_WEB__AUTH_TOKEN",
    }
    assert settings["receivers[0].url"]["value"] == f"http://127.0.0.1:9/{MASK}"
    assert settings["receivers[0].url"]["origin"] == f"{loaded.path}:2"
    assert settings["receivers[1].url"]["value"] == "http://127.0.0.1:9"
    assert settings["snapshots.interval"] == {"value": "1m", "origin": "default"}
    assert settings["data_dir"]["value"] == str(loaded.data_dir)


def test_the_secrets_that_logs_must_mask_are_known(loaded: LoadedConfig) -> None:
    assert CANARY in loaded.secrets()
    assert f"/services/{CANARY}" in loaded.secrets()
