"""SRMRI's table 1 and 3: slices reduced within their plane, by each of the five kernels of its table 3 (--factor 4 beside 2)."""

from __future__ import annotations

from core.evaluation.protocol import Protocol
from core.operators.kernels import KERNELS

TABLES = Protocol("srmri", {kernel: {"operator": "in-plane", "kernel": kernel, "factor": 2} for kernel in KERNELS})
