"""What is published with the code: the schema, the starter, the reference page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tapewatch.config.load import load_config
from tapewatch.config.model import Settings
from tapewatch.config.reference import documented_keys, reference_text
from tapewatch.config.schema import build_schema, schema_path, schema_text
from tapewatch.config.starter import starter_text
from tapewatch.config.yaml_document import read_yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "configuration.md"


def test_the_published_schema_is_in_step_with_the_model() -> None:
    assert schema_path().read_text(encoding="utf-8") == schema_text(), (
        "run: python -m tapewatch.config.schema"
    )


@pytest.mark.requirement("S5-63")
def test_the_reference_page_is_in_step_with_the_model() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_text(), (
        "run: python -m tapewatch.config.reference > docs/reference/configuration.md"
    )


def test_every_key_says_what_it_means_and_why_its_default() -> None:
    for key in documented_keys():
        assert key.field.description, key.path
        extra = key.field.json_schema_extra or {}
        number = isinstance(key.field.default, int) and not isinstance(key.field.default, bool)
        if number:
            assert isinstance(extra, dict) and extra.get("why"), f"{key.path}: why this default?"


def test_the_schema_knows_every_key_of_the_file_and_no_secret() -> None:
    schema = build_schema()
    names = set(re.findall(r'"([a-z_]+)":', json.dumps(schema)))
    for key in documented_keys():
        last = key.path.rsplit(".", 1)[-1]
        if last not in ("auth_token", "secret"):
            assert last in names, key.path
    web = schema["$defs"]["WebSettings"]["properties"]
    assert "auth_token" not in web
    assert "auth_token_file" in web


def test_every_section_of_the_schema_refuses_unknown_keys() -> None:
    def sections(schema: Any) -> list[dict[str, Any]]:
        return [schema, *schema["$defs"].values()]

    for section in sections(build_schema()):
        if section.get("type") == "object":
            assert section["additionalProperties"] is False


def test_the_starter_validates_and_says_what_is_the_default_anyway(tmp_path: Path) -> None:
    path = tmp_path / "tapewatch.yaml"
    path.write_text(starter_text(), encoding="utf-8")
    assert load_config(path, environ={}).settings == Settings()


def test_the_starter_points_editors_at_the_schema() -> None:
    first = starter_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={schema_path()}"


def test_what_the_starter_has_commented_out_validates_as_well(tmp_path: Path) -> None:
    lines = starter_text().splitlines()
    uncommented = []
    for number, line in enumerate(lines):
        opened = re.sub(r"^#(?=(  | *- |[a-z]))", "", line)
        inner = number + 1 < len(lines) and re.match(r"#  ( *- |  )", lines[number + 1])
        uncommented.append(opened.replace(": []", ":") if inner else opened)
    text = "\n".join(uncommented)
    secret = tmp_path / "secret"
    secret.write_text("kD3vX9_qLw7RzT1bN5yHcJ8mPfA2sGuE4oViQ6xYt0M")
    secret.chmod(0o600)
    text = re.sub(r"/etc/tapewatch/\S+", str(secret), text)
    assert read_yaml(text, "starter").data["session"]["name"] == "XNSE"
    path = tmp_path / "tapewatch.yaml"
    path.write_text(text, encoding="utf-8")
    settings = load_config(path, environ={}).settings
    assert settings.engines[0].name == "momentum"
    assert settings.receivers[2].name == "ops"
    assert settings.web.auth_token is not None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().timezone = "UTC"  # type: ignore[misc]
