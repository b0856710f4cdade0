"""How fast this machine was: what stages of earlier runs took, in a small file of isovox, for forecasts of the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from core.digest import digest_of
from core.engine.pace import Pace, median_pace
from core.io import files
from core.settings.run import RunSettings
from infra.home import home

KEPT = 20  # latest scans of each method with its options
FILE = "paces.json"


def _key(method: str, options: Mapping[str, Any], cluster: str) -> str:
    """What a pace hangs on: the method with its options, and where it runs."""
    where = "cuda" if cluster == "cuda" else "cpu"
    return f"{method} {digest_of(dict(options))[:12]} {where}" if options else f"{method} {where}"


def _read() -> dict[str, list[dict[str, float]]]:
    """All that is kept; nothing where the file is missing, damaged or of another version: it only serves forecasts."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = files.read_json(str(home() / FILE))
        return {key: [{stage: float(pace[stage]) for stage in pace} for pace in paces] for key, paces in kept.items()}
    return {}


def paces_here(settings: RunSettings) -> dict[str, dict[str, float]]:
    """Seconds a million restored voxels by method and stage: the median of the latest scans on this machine."""
    known: dict[str, dict[str, float]] = {}
    for key, paces in _read().items():
        method = key.partition(" ")[0]
        options = settings.method_options if method == settings.method else {}
        if key == _key(method, options, settings.compute.cluster):
            known[method] = median_pace(paces)
    return known


def learn(settings: RunSettings, paces: Iterable[tuple[str, Pace]]) -> None:
    """Remember how fast scans were; a folder that cannot be written forgets it.

    Args:
        settings: of the run.
        paces: of each scan its method, and its pace.
    """
    kept = _read()
    for method, pace in paces:
        options = settings.method_options if method == settings.method else {}
        key = _key(method, options, settings.compute.cluster)
        kept[key] = [*kept.get(key, []), dict(pace)][-KEPT:]
    with suppress(OSError):
        files.write_json(str(home() / FILE), kept)
