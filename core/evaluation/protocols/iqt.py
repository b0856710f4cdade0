"""Low field, factor 8, Kim et al. 2023."""

from __future__ import annotations

from core.evaluation.protocol import ONLY, Protocol

PROTOCOL = Protocol("iqt", {ONLY: {"operator": "low-field", "factor": 8}}, lpips=True)
