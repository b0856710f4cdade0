"""What every network promises that a model's config may name, held against each that there is."""

from __future__ import annotations

from importlib import import_module

import pytest

from core.errors import WeightsError
from core.methods import registry
from core.networks import build, modules

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", modules())
def test_it_is_a_module_of_torch_where_it_says(name: str) -> None:
    network = getattr(import_module(modules()[name]), name)
    assert issubclass(network, torch.nn.Module)
    assert network.__name__ == name


@pytest.mark.parametrize("name", modules())
def test_arguments_that_it_does_not_know_are_refused_by_its_name(name: str) -> None:
    with pytest.raises(WeightsError, match=rf"network-config: expected arguments of {name}, but got .*Correct the config"):
        build(name, {"arguments_of_another": 3})


@pytest.mark.parametrize("name", sorted(name for name, entry in registry.networks().items() if entry.method))
def test_the_method_that_it_is_for_is_there_and_takes_a_model(name: str) -> None:
    entry = registry.networks()[name]
    assert registry.method_entry(entry.method).takes.model
