"""The form of a flow's parameters, as Prefect's pages show it and its server checks it before a run is made.

It is the JSON schema of the settings' pydantic models: titles, descriptions, enumerations, examples and limits are theirs.
Added is what only holds where runs are started from afar: a path must not depend on where a worker stands. And what the settings
leave to the families: each method's options. Prefect's form knows ``anyOf`` and enumerations, but not ``oneOf`` and ``const``,
as pydantic writes unions that are told apart by a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, cast

from prefect import Flow

from core.methods import registry

PLACES = ("input", "out", "cohort", "reference", "labels", "new")  # settings that name a file or a folder
ABSOLUTE = r"^(/|s3://[^/])"
SAID = "an absolute path or s3://…"
MODELS = ("model", "pretrained", "weights")  # settings that name a model: a folder, or what the registry has
KNOWN = r"^(/|s3://[^/]|models:/)"
KINDS = {"string": "text", "number": "a number", "integer": "a whole number", "boolean": "yes or no", "null": "not said"}

Schema = dict[str, Any]


def form_of(flow: Flow[..., Any]) -> Schema:
    """The schema of a flow's parameters."""
    schema = deepcopy(flow.parameters.model_dump_for_openapi())
    models: dict[str, Schema] = schema.get("definitions", {})
    for model in [definition for definition in models.values() if _chooses_method(definition)]:
        _offer_options(model, models)
    schema = cast("Schema", _known_to_the_form(schema))
    models = schema.get("definitions", {})
    for name, parameter in schema["properties"].items():
        parameter["title"] = name.replace("_", " ").capitalize()
    for properties in (schema["properties"], *_properties(models)):
        for name, field in properties.items():
            _explain(field, models)
            _choose_or_not(field)
            for choice in field.get("anyOf", ()):  # else the page tells them by their names in Python
                if choice.get("type") in KINDS and "enum" not in choice:
                    choice["title"] = KINDS[choice["type"]]
            if name in PLACES:
                _place(field)
            elif name in MODELS:
                _place(field, KNOWN)
    return schema


def _properties(models: dict[str, Schema]) -> Iterator[dict[str, Schema]]:
    """Those of models, and of the choices that a model's field is."""
    for model in models.values():
        yield model.get("properties", {})
        for field in model.get("properties", {}).values():
            yield from (choice["properties"] for choice in field.get("anyOf", ()) if "properties" in choice)


# -- the options of a method ----------------------------------------------------------------------------------------------------


def _chooses_method(model: Schema) -> bool:
    """Whether a model has a method and its options, as the settings of a run have."""
    properties = model.get("properties", {})
    return "method_options" in properties and "enum" in properties.get("method", {})


def _offer_options(model: Schema, models: dict[str, Schema]) -> None:
    """A method's options are offered by the method, and options of another one refused.

    Args:
        model: with ``method`` and ``method_options``; changed in place.
        models: definitions of the form, to which those of the options are added.
    """
    field, method = model["properties"]["method_options"], model["properties"]["method"]
    options = {name: _options_of(name, models) for name in method["enum"]}
    choices = [choice for choice in options.values() if choice["properties"]]
    field.pop("additionalProperties", None)
    field.pop("type", None)
    field["anyOf"] = [
        {"type": "null"},
        *choices,
    ]  # not {}: the page has no fields for an object without any, and shows it as JSON
    field["default"] = None
    rule: Schema = {}
    for name, choice in options.items():
        own = {"properties": {"method": {"enum": [name]}}, "required": [] if name == method.get("default") else ["method"]}
        then = {"properties": {"method_options": choice | {"type": ["object", "null"]}}}
        rule = {"if": own, "then": then} | ({"else": rule} if rule else {})
    model |= rule


def _options_of(method: str, models: dict[str, Schema]) -> Schema:
    """The options of a method as a choice; a default is told and not filled in, for what is not said is not in a run's digest."""
    if method in registry.pickers():
        return {"title": method, "type": "object", "properties": {}, "required": [], "additionalProperties": False}
    kind = registry.method_class(method).Settings
    schema = kind.model_json_schema(ref_template="#/definitions/{model}")
    models |= schema.pop("$defs", {})
    properties = {name: field for name, field in schema.get("properties", {}).items() if name != "model"}
    for field in properties.values():
        if field.get("type") == "boolean":  # a switch says something whatever nobody said: let it be the default
            continue
        if (default := field.pop("default", None)) not in (None, [], {}, ""):
            field["description"] = f"{field.get('description', '')} (default: {default})".strip()
    required = [name for name in schema.get("required", ()) if name in properties]
    return {"title": method, "type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _known_to_the_form(value: Any) -> Any:
    """A schema in words that Prefect's form knows."""
    if isinstance(value, list):
        return [_known_to_the_form(element) for element in value]
    if not isinstance(value, dict):
        return value
    known = {name: _known_to_the_form(element) for name, element in value.items()}
    if isinstance(known.get("oneOf"), list):
        known["anyOf"] = known.pop("oneOf")
        known.pop("discriminator", None)
    if "const" in known and "enum" not in known and not isinstance(known["const"], dict):
        known["enum"] = [known.pop("const")]
    return known


# -- fields ---------------------------------------------------------------------------------------------------------------------


def _explain(field: Schema, models: dict[str, Schema]) -> None:
    """A field that is a model of its own says what the model says, and fills in what the model's fields do."""
    model = models.get(field.get("$ref", "").rpartition("/")[2], {})
    if "description" not in field and "description" in model:
        field["description"] = model["description"].partition("\n")[0]
    if model and isinstance(field.get("default"), dict):  # what its own fields do not fill in, it does not either
        field["default"] = {name: value for name, value in field["default"].items() if "default" in model["properties"][name]}


def _choose_or_not(field: Schema) -> None:
    """A list of values belongs to the choice that is a text: beside "not said" it would refuse just that."""
    texts = [choice for choice in field.get("anyOf", ()) if choice.get("type") == "string"]
    if texts and "enum" in field:
        texts[0]["enum"] = field.pop("enum")


def _place(field: Schema, pattern: str = ABSOLUTE) -> None:
    """A text that names a place must be absolute."""
    for part in (field, *field.get("anyOf", ())):
        if part.get("type") == "string":
            part["pattern"] = pattern
    description = field.get("description", "").rstrip(".")
    field["description"] = (
        description.replace("local or s3://", SAID)
        if "local or s3://" in description
        else f"{description}; {SAID if pattern == ABSOLUTE else f'a folder by {SAID}'}"
    )


def fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every field of a form, those of nested models and of a field's choices too, by its path."""
    yield from schema["properties"].items()
    for model, definition in schema.get("definitions", {}).items():
        for name, field in definition.get("properties", {}).items():
            yield f"{model}.{name}", field
            for choice in field.get("anyOf", ()):
                yield from (
                    (f"{model}.{name}.{choice['title']}.{key}", each) for key, each in choice.get("properties", {}).items()
                )
