"""The form of a flow's parameters, as Prefect's pages show it and its server checks it before a run is made.

It is the JSON schema of the settings' pydantic models: titles, descriptions, enumerations, examples and limits are theirs.
Added is what only holds where runs are started from afar: a path must not depend on where a worker stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from prefect import Flow

PLACES = ("input", "out", "cohort", "reference", "labels", "new")  # settings that name a file or a folder
ABSOLUTE = r"^(/|s3://[^/])"
SAID = "an absolute path or s3://…"
KINDS = {"string": "text", "number": "a number", "integer": "a whole number", "boolean": "yes or no", "null": "not said"}

Schema = dict[str, Any]


def form_of(flow: Flow[..., Any]) -> Schema:
    """The schema of a flow's parameters."""
    schema = deepcopy(flow.parameters.model_dump_for_openapi())
    models: dict[str, Schema] = schema.get("definitions", {})
    for name, parameter in schema["properties"].items():
        parameter["title"] = name.replace("_", " ").capitalize()
    for properties in (schema["properties"], *(model.get("properties", {}) for model in models.values())):
        for name, field in properties.items():
            _explain(field, models)
            for choice in field.get("anyOf", ()):  # else the page tells them by their names in Python
                if choice.get("type") in KINDS and "enum" not in choice:
                    choice["title"] = KINDS[choice["type"]]
            if name in PLACES:
                _place(field)
    return schema


def _explain(field: Schema, models: dict[str, Schema]) -> None:
    """A field that is a model of its own says what the model says."""
    model = models.get(field.get("$ref", "").rpartition("/")[2], {})
    if "description" not in field and "description" in model:
        field["description"] = model["description"].partition("\n")[0]


def _place(field: Schema) -> None:
    """A text that names a place must be absolute."""
    for one in (field, *field.get("anyOf", ())):
        if one.get("type") == "string":
            one["pattern"] = ABSOLUTE
    said = field.get("description", "").rstrip(".")
    field["description"] = said.replace("local or s3://", SAID) if "local or s3://" in said else f"{said}; {SAID}"


def fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every field of a form, those of nested models too, by its path."""
    yield from schema["properties"].items()
    for model, one in schema.get("definitions", {}).items():
        yield from ((f"{model}.{name}", field) for name, field in one.get("properties", {}).items())
