"""Who is champion is told without reading weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.models.domain import Domain, write_domain
from tasks.registry.champions import champions
from tasks.registry.resolve import register


def test_champions_are_told_with_what_they_are_for(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    one, other = model(1.0), model(2.0)
    write_domain(one, Domain(contrasts=("T1w",)))
    register(one, "first", uri, alias="champion")
    register(other, "first", uri, alias="challenger")
    register(other, "second", uri)
    found = champions(uri, tmp_path / "cache")
    assert {name: champion.version for name, champion in found.items()} == {"first": "first/1"}
    assert found["first"].domain.contrasts == ("T1w",)
    assert not (tmp_path / "cache").exists()
