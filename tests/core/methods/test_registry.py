"""Families are found by listing folders, cost nothing until they are used, and say clearly what is wrong with them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import UsageError
from core.methods import registry
from core.settings.run import RunSettings
from core.settings.train import TrainSettings

DECLARED = """
from core.methods.family import Family, MethodEntry, NetworkEntry, RecipeEntry, Takes

FAMILY = Family(
    "{family}",
    "for tests",
    (MethodEntry("{method}", "{family}.method:Still", "gives zeros", "none"),),
    networks=(NetworkEntry("{network}", "{family}.method"),),
)
"""
METHOD = """
from typing import ClassVar
from core.methods.interpolation.method import Nearest

class Still(Nearest):
    name: ClassVar[str] = "still"
"""


def family(parent: Path, name: str, method: str = "still", network: str = "Still", code: str | None = METHOD) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "family.py").write_text(DECLARED.format(family=name, method=method, network=network))
    if code is not None:
        (folder / "method.py").write_text(code)
    return folder


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A name for a family that no other test's has, for Python keeps modules by their names."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return "family_" + "".join(letter for letter in request.node.name if letter.isalnum())


def test_a_family_of_another_folder_is_one_of_them(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = family(tmp_path, names)
    monkeypatch.setenv(registry.VARIABLE, str(folder))
    assert registry.methods()["still"].where == f"{names}.method:Still"
    assert registry.build_method("still").name == "still"
    assert registry.family_of("still").folder == folder
    assert "still" in RunSettings.model_json_schema()["properties"]["method"]["enum"]
    assert registry.networks()["Still"].module == f"{names}.method"
    monkeypatch.delenv(registry.VARIABLE)
    assert "still" not in registry.methods()


def test_a_name_that_two_use_is_refused_with_both_places(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = family(tmp_path, names, method="cubic")
    monkeypatch.setenv(registry.VARIABLE, str(one))
    said = (
        rf"name-taken: expected each name once among methods, but got cubic in .*interpolation/family.py and in {one}/family.py"
    )
    with pytest.raises(UsageError, match=said):
        registry.families()


def test_a_network_of_the_name_of_another_is_refused(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(family(tmp_path, names, network="ESRGAN")))
    with pytest.raises(
        UsageError, match=r"name-taken: expected each name once among networks, but got ESRGAN in .*esrgan/family.py"
    ):
        registry.families()


def test_code_that_is_missing_is_told_where_it_is_used(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(family(tmp_path, names, code=None)))
    assert "still" in registry.methods()
    said = rf"declaration-broken: expected {names}.method:Still.*, but got No module named '{names}.method'\. Correct"
    with pytest.raises(UsageError, match=said):
        registry.method_class("still")


def test_a_declaration_that_cannot_be_read_is_named(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = family(tmp_path, names)
    (folder / "family.py").write_text("FAMILY = 1 / 0")
    monkeypatch.setenv(registry.VARIABLE, str(folder))
    with pytest.raises(UsageError, match=rf"family-unreadable: expected FAMILY in {folder}/family.py, but got ZeroDivisionError"):
        registry.families()


def test_listing_imports_no_code_of_a_method() -> None:
    code = """
import sys
from core.methods import registry
assert {"cubic", "unires", "unet-3d"} <= set(registry.methods()) and registry.recipes() and registry.networks()
wrong = {"torch", "numpy", "monai", "core.methods.patch_network", "core.methods.unires.method"} & set(sys.modules)
sys.exit(str(wrong) if wrong else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": "."})


def test_every_declaration_is_true() -> None:
    for name, entry in registry.methods().items():
        method = registry.method_class(name)
        assert (method.name, method.fuses, method.needs_model) == (name, entry.takes.scans == "several", entry.takes.model)
        assert not entry.recipe or registry.recipes()[entry.recipe].method == name
        assert entry.title
        assert entry.source
    for name, network in registry.networks().items():
        assert registry.resolve(f"{network.module}:{name}").__name__ == name
        assert not network.method or network.method in registry.methods()
    for one in registry.families():
        assert callable(registry.resolve(one.mock)) == any(entry.takes.model for entry in one.methods) if one.mock else True


@pytest.mark.parametrize(
    ("said", "near"), [("unet3d", "unet-3d"), ("diffusion-iqt-bas", "diffusion-iqt-base"), ("resunet", "resunet-3d")]
)
def test_a_recipe_nearly_right_is_told_the_right_one(said: str, near: str) -> None:
    with pytest.raises(ValidationError, match=rf"unknown-recipe: expected one of .*, but got {said}\. Did you mean {near}\?"):
        TrainSettings(method=said, cohort="/data")


def test_a_size_that_a_recipe_does_not_have_is_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"preset-unknown: expected one of paper, small, tiny, but got tin\. Did you mean tiny\?"
    ):
        TrainSettings(method="unet-3d", cohort="/data", preset="tin")


def test_an_unknown_method_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown-method: expected one of .*cubic.*, but got cubc\. Did you mean cubic\?"):
        registry.build_method("cubc")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"method": "unires", "method_options": {"iteration": 3}},
            r"options of unires \(reg_scl, .*\. Did you mean iterations\?",
        ),
        ({"method": "unires", "method_options": {"iterations": 0}}, r"iterations: Input should be greater than or equal to 1"),
        ({"method": "network", "method_options": {"batch": 0}}, r"options of network \(precision, batch, compiled, flips\)"),
        ({"method": "cubic", "method_options": {"iterations": 3}}, r"options of cubic \(none\)"),
    ],
)
def test_options_that_a_method_does_not_have_are_refused_with_the_settings(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=f"method-options: .*{told}"):
        RunSettings.model_validate({"input": "/in", "out": "/out", **said})


def test_what_is_said_stays_as_it_was_said() -> None:
    assert RunSettings.model_validate({"input": "", "out": "", "method_options": None}) == RunSettings(input="", out="")
    assert RunSettings(input="", out="", method="unires", method_options={"iterations": 20}).method_options == {"iterations": 20}
    assert RunSettings(input="", out="", method="network", method_options={"batch": 2}).method_options == {"batch": 2}


@pytest.mark.parametrize(
    ("network", "method"), [("DiffusionIQT", "diffusion-iqt"), ("ESRGAN", "network"), ("UNet", "network"), ("None", "network")]
)
def test_a_network_has_the_method_that_applies_it(network: str, method: str) -> None:
    assert registry.method_for(network) == method


def test_a_method_is_the_same_in_another_process(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of a family that Python alone would not find."""
    monkeypatch.setenv(registry.VARIABLE, str(family(tmp_path, names)))
    made = [registry.build_method("still"), registry.build_method("unires", {"iterations": 3})]
    (tmp_path / "methods").write_bytes(pickle.dumps(made))
    code = f"""
import pickle
still, unires = pickle.loads(open({str(tmp_path / "methods")!r}, "rb").read())
assert (type(still).__module__, still.name, unires.name, unires.settings.iterations) == ("{names}.method", "still", "unires", 3)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": "."})


def test_a_relative_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, "families/mine")
    with pytest.raises(
        UsageError, match=r"family-relative: expected absolute paths in ISOVOX_FAMILIES, but got families/mine\. Name the"
    ):
        registry.families()


def test_two_families_of_one_name_are_refused(tmp_path: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = family(tmp_path / "a", names), family(tmp_path / "b", names, method="other", network="Other")
    monkeypatch.setenv(registry.VARIABLE, os.pathsep.join(map(str, (one, other))))
    with pytest.raises(
        UsageError, match=rf"family-hidden: expected the package {names} at {other}, but got another of that name at {one}"
    ):
        registry.families()
