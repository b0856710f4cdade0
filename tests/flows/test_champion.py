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


def test_methods_that_share_a_model_restore_with_its_champion(tmp_path: Path) -> None:
    from flows.home import tracking_uri

    registry.resolve(registry.family_of(SHARED[0]).mock)(str(tmp_path / "model"), SHARED[0])
    register(str(tmp_path / "model"), registry.method_entry(SHARED[0]).model_name, tracking_uri(None), alias="champion")
    for name in SHARED:
        weights = resolve_weights(RunSettings(input="", out="", method=name))
        assert weights is not None
        assert weights.sha256 == read_bundle(str(tmp_path / "model")).digest


def test_without_a_champion_the_recipe_that_trains_it_is_named() -> None:
    for name in SHARED:
        with pytest.raises(UsageError, match=r"a champion of brain-ldm in the registry.*isovox train brain-ldm COHORT"):
            resolve_weights(RunSettings(input="", out="", method=name))
