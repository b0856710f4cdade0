"""Low field, factor 8, Kim et al. 2023."""

from __future__ import annotations

from core.evaluation.protocol import Protocol

PROTOCOL = Protocol("iqt", {"operator": "low-field", "factor": 8}, lpips=True)
