"""Averaged slices over a grid of factors and gaps: for which scans a method is better than cubic interpolation.

The box slices of ``any-scan``; see ``core.evaluation.gains``.
"""

from __future__ import annotations

from functools import partial

from core.evaluation.gains import tables
from core.evaluation.protocol import Protocol
from core.evaluation.protocols.any_scan import PLACES as ALL
from core.evaluation.protocols.any_scan import degradations

PLACES = {name: place for name, place in ALL.items() if name.endswith("box")}

PROTOCOL = Protocol("domain", degradations(PLACES), tables=partial(tables, places=PLACES), baseline=True)
