"""A radiologist fills the form without reading code: each field says what it is; bad values are refused before a run is made."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import ValidationError, is_valid_schema, validate

from core.methods import registry
from core.settings.degradation import Degradation
from deployments.catalogue import CATALOGUE
from deployments.forms import fields, form_of

RUN = {"input": "/data/study", "out": "/data/out"}


@pytest.fixture(scope="module")
def forms() -> dict[str, dict[str, Any]]:
    return {entry.name: form_of(found[1]) for entry in CATALOGUE if (found := entry.find())}


def test_the_main_flows_are_deployable(forms: dict[str, Any]) -> None:
    assert list(forms) == [entry.name for entry in CATALOGUE]
    assert list(forms) == ["reprocess-cohort", "restore-scan", "evaluate", "train", "harmonize", "monitor"]


def test_each_entry_names_a_flow_that_a_worker_can_import() -> None:
    from prefect.flows import load_flow_from_entrypoint

    for path, flow in filter(None, (entry.find() for entry in CATALOGUE)):
        assert load_flow_from_entrypoint(path, use_placeholder_flow=False) is flow


def test_every_field_has_a_title_and_says_what_it_is(forms: dict[str, Any]) -> None:
    silent = {
        f"{name}: {path}"
        for name, form in forms.items()
        for path, field in fields(form)
        if not (field.get("title") or "$ref" in field) or not field.get("description")
    }
    assert len(list(fields(forms["reprocess-cohort"]))) > 30
    assert silent == set()


def test_what_there_is_to_choose_is_offered(forms: dict[str, Any]) -> None:
    run = forms["reprocess-cohort"]["definitions"]["RunSettings"]["properties"]
    assert run["method"]["enum"] == [*registry.pickers(), *registry.methods()]
    assert run["on_new_model"]["enum"] == ["report", "redo"]
    assert run["input"]["examples"]
    sizes = {size for recipe in registry.recipes().values() for size in recipe.presets}
    assert (
        set(forms["train"]["definitions"]["TrainSettings"]["properties"]["preset"]["enum"]) == sizes >= {"paper", "small", "tiny"}
    )


def test_the_server_takes_the_forms_as_schemas(forms: dict[str, Any]) -> None:
    for form in forms.values():
        is_valid_schema(form)


def test_good_values_are_taken(forms: dict[str, Any]) -> None:
    good = {"settings": RUN | {"method": "unires", "voxel_size": 0.8, "selection": {"suffix": ["T1w"]}, "reference": None}}
    validate(good, forms["reprocess-cohort"], raise_on_error=True)
    validate({"settings": {"input": "s3://bucket/study", "out": "s3://bucket/out"}}, forms["restore-scan"], raise_on_error=True)
    for model in ("/data/model", "s3://bucket/model", "models:/network@champion", "models:/network/3", None):
        validate({"settings": RUN | {"method": "network", "model": model}}, forms["reprocess-cohort"], raise_on_error=True)


BAD = {
    "a method that is not there": ({"method": "magic"}, "settings.method"),
    "a voxel size out of range": ({"voxel_size": 0}, "settings.voxel_size"),
    "a number that is text": ({"voxel_size": "fine"}, "settings.voxel_size"),
    "a relative input": ({"input": "study"}, "settings.input"),
    "a relative reference": ({"reference": "truth"}, "settings.reference"),
    "a relative model": ({"method": "network", "model": "own/model"}, "settings.model"),
    "an output on no storage we know": ({"out": "http://host/x"}, "settings.out"),
    "a setting that is not there": ({"voxelsize": 1}, "settings"),
    "a nested value out of range": ({"compute": {"workers": 0}}, "settings.compute.workers"),
    "a wrong choice": ({"on_new_model": "maybe"}, "settings.on_new_model"),
    "an option that no method has": ({"method_options": {"magic": 1}}, "settings.method_options"),
    "an option of another method": ({"method": "linear", "method_options": {"iterations": 3}}, "settings.method_options"),
    "an option of another method than the default": ({"method_options": {"iterations": 3}}, "settings.method_options"),
    "an option out of range": ({"method": "unires", "method_options": {"iterations": 0}}, "settings.method_options.iterations"),
    "a model among the options": ({"method": "network", "method_options": {"model": "/m"}}, "settings.method_options"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_refused(forms: dict[str, Any], case: str) -> None:
    wrong, where = BAD[case]
    with pytest.raises(ValidationError, match=f"Validation failed for field '{where}'"):
        validate({"settings": RUN | wrong}, forms["reprocess-cohort"], raise_on_error=True)


def test_the_form_of_a_training_fills_in_nothing_that_another_operator_has_another_default_of(forms: dict[str, Any]) -> None:
    """The page sends all that it fills in; of low field, slices are gaussian with gaps unless said."""
    models = forms["train"]["definitions"]
    sent = {name: field["default"] for name, field in models["Degradation"]["properties"].items() if "default" in field}
    assert models["TrainSettings"]["properties"]["degradation"]["default"].items() <= sent.items()
    asked = Degradation.model_validate(sent | {"operator": "low-field"})
    assert asked == Degradation(operator="low-field")
    assert (asked.slice_profile, asked.slice_gap) == ("gaussian", 0.25)
    assert "(default: box)" in models["Degradation"]["properties"]["slice_profile"]["description"]


@pytest.mark.parametrize("name", registry.methods())
def test_the_options_of_each_method_are_offered_with_what_they_are(forms: dict[str, Any], name: str) -> None:
    field = forms["reprocess-cohort"]["definitions"]["RunSettings"]["properties"]["method_options"]
    settings = registry.method_class(name).Settings.model_fields
    offered = {choice["title"]: choice["properties"] for choice in field["anyOf"][1:]}.get(name, {})
    assert field["anyOf"][0] == {"type": "null", "title": "not said"}
    assert field["default"] is None
    assert set(offered) == set(settings) - {"model"}
    for option, said in offered.items():
        assert said["title"] == settings[option].title
        assert said["description"].startswith(settings[option].description)
        if said.get("type") == "boolean":  # a switch stands somewhere
            assert said["default"] == settings[option].default
            continue
        assert "default" not in said  # else it would be filled in, and a run with it is another one by its digest
        if (default := settings[option].default) not in (None, (), {}, ""):
            assert f"(default: {default})" in said["description"]


@pytest.mark.parametrize(
    ("method", "options"), [("unires", {"iterations": 5}), ("diffusion-iqt", {"sampler": "ddim"}), ("cubic", {})]
)
def test_options_of_the_method_are_taken(forms: dict[str, Any], method: str, options: dict[str, Any]) -> None:
    settings = RUN | {"method": method, "method_options": options}
    validate({"settings": settings}, forms["reprocess-cohort"], raise_on_error=True)


def test_a_form_says_nothing_that_the_page_does_not_know(forms: dict[str, Any]) -> None:
    for form in forms.values():
        assert not {"oneOf", "discriminator", "const"} & set(words(form))


def words(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        return [*schema, *(word for one in schema.values() for word in words(one))]
    return [word for one in schema for word in words(one)] if isinstance(schema, list) else []


def test_an_input_is_needed(forms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="'input' is a required property"):
        validate({"settings": {"out": "/data/out"}}, forms["reprocess-cohort"], raise_on_error=True)


def test_no_value_is_refused_because_nothing_was_said() -> None:
    """A form that was shown as JSON says null of every field that may be left out."""
    for entry in CATALOGUE:
        located = entry.find()
        assert located is not None
        for name, field in fields(form_of(located[1])):
            silent = [choice for choice in field.get("anyOf", ()) if choice.get("type") == "null"]
            assert not (silent and "enum" in field), name
