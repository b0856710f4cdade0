"""Whether this program's packages are its own: ``core``, ``tasks`` … are common names, and another installation can hide them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("core", "tasks", "flows", "cli", "infra", "deployments")
HOME = Path(__file__).resolve().parents[1]
REMEDY = "Install isovox into a Python environment of its own (make setup), and leave PYTHONPATH empty"


def foreign(home: Path = HOME) -> dict[str, str]:
    """Packages of isovox in whose place Python would import another's, without importing any.

    Args:
        home: the folder in which isovox's own packages lie.

    Returns:
        where Python finds each of them instead, by name; "nowhere" for one that it does not find. Empty where all is well.
    """
    places = {name: _place(name) for name in PACKAGES}
    return {name: str(place or "nowhere") for name, place in places.items() if place != home / name}


def _place(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None
