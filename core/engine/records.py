"""What is known of a scan after a run: one JSON file each, which tables, reports and resuming read."""

from __future__ import annotations

from typing import Any, Literal

from core.settings.base import Settings

State = Literal["done", "skipped", "flagged", "failed"]


class ScanRecord(Settings):
    """The outcome of one scan, as written to ``isovox/scans/<key>.json`` of the output.

    Attributes:
        key: unique name of the scan in its cohort, safe as a file name ("sub-01_ses-1_T1w").
        state: done, flagged (done, but a quality threshold was missed) or failed; "skipped" only in a run's table.
        reason: why it was flagged or failed, one line; empty where done.
        code: short stable name of the fault ("affine-singular", "consistency"); empty where done.
        digest: of input bytes, settings, weights and code version; what ``done()`` compares.
        plan_digest: of the plan that made it.
        method: name of the method.
        inputs: path or URI of each input file (relative to the cohort) and its sha256.
        outputs: path in the output folder and its sha256.
        quality: figures by name (consistency, seam, noise_sd, volume_change, …).
        metrics: figures against the reference by name (psnr, ssim, …); empty without one.
        steps: what the steps of an iterative method told, by name: number of the step and value, at most 200 of each.
        maps: names of the maps beside the restored image, such as "sd".
        step_seconds: what such a step took on average, of those that the last process made; None of other methods.
        pictures: small arrays by name that the method told, such as a kernel: rows of values.
        seconds: by stage (ingest, restore, export, report).
        provenance: what the sidecar says: settings, versions, model, grids.
    """

    key: str
    state: State
    reason: str = ""
    code: str = ""
    digest: str = ""
    plan_digest: str = ""
    method: str = ""
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    quality: dict[str, float] = {}
    metrics: dict[str, float] = {}
    steps: dict[str, list[tuple[int, float]]] = {}
    maps: tuple[str, ...] = ()
    step_seconds: float | None = None
    pictures: dict[str, list[list[float]]] = {}
    seconds: dict[str, float] = {}
    provenance: dict[str, Any] = {}
