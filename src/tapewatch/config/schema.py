"""The published JSON schema: editors complete and check ``tapewatch.yaml`` with it.

``python -m tapewatch.config.schema`` writes it anew; a test holds it in step with the model.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from tapewatch.config.model import Settings
from tapewatch.config.shape import members

SCHEMA_NAME = "tapewatch.schema.json"
_DIALECT = "http://json-schema.org/draft-07/schema#"


class _Generator(GenerateJsonSchema):
    """Leaves out the titles that only repeat the key, and turns our notes into text."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        shown = super().model_schema(schema)
        shown.pop("title", None)
        properties = shown.get("properties", {})
        for key, field in schema["cls"].model_fields.items():
            if SecretStr in members(field.annotation):
                # A secret is never written into the file.
                properties.pop(key, None)
                continue
            about = properties.get(key, {})
            unit, why = about.pop("unit", ""), about.pop("why", "")
            if why:
                about["description"] += f" Default: {why}."
            if unit and unit != "duration":
                about["description"] += f" Unit: {unit}."
        return shown


def build_schema() -> dict[str, Any]:
    """Return the schema of the configuration file."""
    schema = Settings.model_json_schema(mode="validation", schema_generator=_Generator)
    return {"$schema": _DIALECT, "title": "Tapewatch configuration", **schema}


def schema_text() -> str:
    """Return the schema as it is published."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def schema_path() -> Path:
    """Return where the published schema lies in this installation."""
    return Path(str(resources.files("tapewatch.config").joinpath(SCHEMA_NAME)))


if __name__ == "__main__":
    schema_path().write_text(schema_text(), encoding="utf-8")
