"""Which model a method restores with where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UsageError
from core.methods import registry
from core.models.bundle import read_bundle
from core.settings.run import RunSettings
from flows.weights import resolve_weights
from tasks.registry.resolve import register

SHARED = [name for name, entry in registry.methods().items() if entry.model]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", SHARED)
def test_methods_that_share_a_model_restore_with_its_champion(tmp_path: Path, name: str) -> None:
    from flows.runs.home import tracking_uri

    registry.resolve(registry.family_of(name).mock)(str(tmp_path / "model"), name)
    register(str(tmp_path / "model"), registry.method_entry(name).model_name, tracking_uri(None), alias="champion")
    weights = resolve_weights(RunSettings(input="", out="", method=name))
    assert weights is not None
    assert weights.sha256 == read_bundle(str(tmp_path / "model")).digest


@pytest.mark.parametrize("name", [name for name in SHARED if registry.shipped(name) is None])
def test_without_a_champion_the_recipe_that_trains_it_is_named(name: str) -> None:
    model, recipe = registry.method_entry(name).model_name, registry.recipe_of(name)
    with pytest.raises(UsageError, match=rf"a champion of {model} in the registry.*isovox train {recipe} COHORT"):
        resolve_weights(RunSettings(input="", out="", method=name))
