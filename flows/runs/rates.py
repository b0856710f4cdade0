"""How fast this machine was: rates of earlier runs, in a small file in isovox's own folder, for forecasts of the next."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from core.digest import digest_of
from core.io import files
from core.settings.run import RunSettings
from infra.home import home

KEPT = 20  # latest scans of each method with its options
FILE = "rates.json"


def _key(method: str, options: Mapping[str, Any], cluster: str) -> str:
    """What a rate hangs on: the method with its options, and where it runs."""
    where = "cuda" if cluster == "cuda" else "cpu"
    return f"{method} {digest_of(dict(options))[:12]} {where}" if options else f"{method} {where}"


def _read() -> dict[str, list[float]]:
    """All rates that are kept; none where the file is missing or damaged: they only serve forecasts."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        return {key: [float(rate) for rate in rates] for key, rates in files.read_json(str(home() / FILE)).items()}
    return {}


def rates_here(settings: RunSettings) -> dict[str, float]:
    """Restored voxels a second of one worker, all stages together, by method: the median of the latest scans on this machine."""
    known: dict[str, float] = {}
    for key, rates in _read().items():
        method = key.partition(" ")[0]
        options = settings.method_options if method == settings.method else {}
        if rates and key == _key(method, options, settings.compute.cluster):
            known[method] = statistics.median(rates)
    return known


def learn(settings: RunSettings, scans: Iterable[tuple[str, int, float]]) -> None:
    """Remember how fast scans were; a folder that cannot be written forgets it.

    Args:
        settings: of the run.
        scans: of each its method, its restored voxels, and the seconds of all its stages.
    """
    rates = _read()
    for method, voxels, seconds in scans:
        options = settings.method_options if method == settings.method else {}
        if seconds > 0:
            key = _key(method, options, settings.compute.cluster)
            rates[key] = [*rates.get(key, []), float(f"{voxels / seconds:.4g}")][-KEPT:]
    with suppress(OSError):
        files.write_json(str(home() / FILE), rates)
