"""environments/schema.json: what editors complete and check environment files with.

Written by ``harness docs``, or ``python -m harness.environment.schema > environments/schema.json``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from harness.environment.model import Environment
from harness.items import ITEMS

__all__ = ["schema_text"]


def schema_text() -> str:
    """The JSON schema of an environment file, as it stands in environments/schema.json."""
    schema: dict[str, Any] = Environment.model_json_schema(by_alias=True)
    schema = {"$schema": GenerateJsonSchema.schema_dialect, **schema}
    schema["properties"]["not_applicable"]["propertyNames"] = {"enum": list(ITEMS)}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
