"""Averaged slices, factor 4."""

from __future__ import annotations

from core.evaluation.protocol import ONLY, Protocol

PROTOCOL = Protocol("thick-slice", {ONLY: {"operator": "slice-profile", "factor": 4}})
