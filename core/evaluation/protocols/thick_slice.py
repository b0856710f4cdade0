"""Averaged slices, factor 4."""

from __future__ import annotations

from core.evaluation.protocol import Protocol

PROTOCOL = Protocol("thick-slice", {"operator": "slice-profile", "factor": 4})
