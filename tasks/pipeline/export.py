"""From the store to the user: quality, NIfTI and sidecar, record. Runs on a worker."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from core import __version__
from core.banding import banding, evened
from core.engine.consistency import unrepaired
from core.engine.plan import ScanPlan, facts_of_scan
from core.engine.quality import Baseline, Problem, Quality, assess
from core.engine.records import ScanRecord
from core.errors import GridError, InputError
from core.evaluation.metrics import nrmse, psnr, ssim
from core.faces import looked_for
from core.geometry.grid import Array, Grid
from core.geometry.resample import Order, interpolate
from core.geometry.tiles import volume
from core.io import derivatives, files, nifti, readers
from core.io.output import Output
from core.methods.base import Measured, Method
from core.methods.maps import meaning_of
from core.methods.registry import baseline
from core.models.calibration import OUTSIDE, UNCERTAINTY
from core.stats import looks_skull_stripped
from tasks.pipeline.former import remove_former
from tasks.pipeline.labels import write_labels
from tasks.pipeline.widths import overlap_of
from tasks.restore.maps import names_of, path_of_map
from tasks.restore.work import (
    Job,
    is_repaired,
    measured_of,
    mended,
    method_of,
    outside_of,
    path_of,
    read_plan,
    scans_of,
    steadily,
    store_of,
    stored_as,
    tiling_of,
    told_of,
    write_image,
)

PACKAGES = ("numpy", "scipy", "torch", "zarr", "nibabel", "numba")
CUBIC: Order = 3


@dataclass(frozen=True)
class Restored:
    """A scan before and after, in memory."""

    measured: Measured
    image: Array
    target: Grid
    cubic: Array | None


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {"isovox": __version__, "python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def read_restored(job: Job, scan: ScanPlan) -> Restored:
    """A scan before and after, with cubic interpolation to compare with (None where that alone is the method)."""
    measured, target = measured_of(job, scan), scan.target_grid
    alone = method_of(job).name == baseline() and not is_repaired(job, scan)
    cubic = None if alone else interpolate(measured.image, measured.grid, target, CUBIC)
    return Restored(measured, store_of(job).read(path_of(job, scan, "restored")), target, cubic)


def _reference(scan: ScanPlan) -> Array | None:
    """The truth on the target grid."""
    if scan.reference is None:
        return None
    image, grid, _ = readers.load_at(scan.reference)
    target = scan.target_grid
    if grid.shape == target.shape and np.allclose(grid.affine, target.affine, atol=1e-3):
        return image
    try:
        image = interpolate(image, grid, target, CUBIC)
    except GridError as error:
        wanted = "a reference whose axes are parallel to the scan's"
        raise InputError("reference-grid", wanted, str(error), "resample the reference to the scan's orientation") from error
    if image.min() == image.max():
        wanted, got = "a reference that shows what the scan does", f"{image.max():g} all over the scan's field of view"
        remedy = "check that both have one origin and one orientation in their headers, or name another reference"
        raise InputError("reference-apart", wanted, f"{got}: {files.name_of(scan.reference)} lies elsewhere", remedy)
    return image


def foreground(reference: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where there is head: above a tenth of the 99.9th percentile."""
    return np.asarray(reference > 0.1 * np.percentile(reference, 99.9))


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that are numbers: records hold no others, such as the PSNR of an image that is the reference itself."""
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def score(image: Array, reference: Array, ending: str = "") -> dict[str, float]:
    """PSNR (dB), SSIM and NRMSE over the whole volume and over the foreground; data range: that of the reference."""
    span = float(reference.max() - reference.min())
    result = {}
    for name, mask in (("", None), ("_masked", foreground(reference))):
        result[f"psnr{name}{ending}"] = psnr(image, reference, data_range=span, mask=mask)
        result[f"ssim{name}{ending}"] = ssim(image, reference, data_range=span, mask=mask)
        result[f"nrmse{name}{ending}"] = nrmse(image, reference, data_range=span, mask=mask)
    return result


def _metrics(restored: Restored, reference: Array | None) -> dict[str, float]:
    if reference is None:
        return {}
    baseline = {} if restored.cubic is None else score(restored.cubic, reference, "_cubic")
    return _finite(score(restored.image, reference) | baseline)


def _assess(job: Job, scan: ScanPlan, restored: Restored) -> Quality:
    """Quality of the restored scan, with the consistency of cubic interpolation beside it."""
    thresholds = read_plan(job.out, job.plan).settings.quality
    measured, figures, problems = _banding(restored.measured, method_of(job))
    restored = replace(restored, measured=measured)
    cubic = _baseline(job, scan, restored)
    quality = assess(measured, restored.image, restored.target, tiling_of(job, scan), thresholds, cubic)
    quality = replace(quality, figures=quality.figures | figures, problems=[*quality.problems, *problems])
    if thresholds.check_faces:
        quality = looked_for(quality, restored.measured.image, restored.measured.grid)
    if restored.cubic is None:
        return quality
    other = assess(restored.measured, restored.cubic, restored.target, volume(restored.target.shape), thresholds)
    return replace(quality, figures=quality.figures | {"consistency_cubic": other.figures["consistency"]})


def _baseline(job: Job, scan: ScanPlan, restored: Restored) -> Baseline | None:
    """Cubic interpolation, where the restored scan has the measured one's contrast; else None."""
    if unrepaired(method_of(job), scan.forward):
        return None
    fused = sum(member.group == scan.group for member in read_plan(job.out, job.plan).scans) > 1
    return Baseline(restored.image if restored.cubic is None else restored.cubic, is_repaired(job, scan), fused)


def _banding(measured: Measured, method: Method) -> tuple[Measured, dict[str, float], list[Problem]]:
    """The scan that a restoration is held against, the figures of its banding, and the flag where the method leaves it in."""
    image, grid, stats = measured.image, measured.grid, measured.stats
    seen = banding(image, grid, stats)
    if seen is None:
        return measured, {}, []
    figures = {"banding": seen.gain, "banding_limit": seen.limit}
    if not seen.found:
        return measured, figures, []
    if method.evens:
        return replace(measured, image=evened(image, grid, stats)[0]), figures | {"banding_removed": seen.gain}, []
    which = "brighter" if seen.gain > 0 else "darker"
    reason = f"banding: every second measured slice is {abs(seen.gain):.1%} {which} (at most {seen.limit:.1%})"
    return measured, figures, [("banding", reason)]


def _provenance(job: Job, scan: ScanPlan) -> dict[str, Any]:
    plan = read_plan(job.out, job.plan)
    elsewhere = dict.fromkeys(("input", "out", "reference", "compute", "tracking_uri", "selection", "model"), True)
    settings = plan.settings.model_dump(mode="json", exclude={**elsewhere, "tiling": {"mode"}})
    together = [member for member in plan.scans if member.group == scan.group]
    unneeded = told_of(job, scan, "repair").get("unneeded", "")
    return {
        "Inputs": {member.relative: member.sha256 for member in together},
        "Method": plan.way(scan).method,
        **({"MethodChosen": scan.why} if scan.why else {}),
        **({"Repaired": is_repaired(job, scan) and not unneeded} if plan.settings.repair else {}),
        **({"Unrepaired": unneeded} if unneeded else {}),
        "Settings": settings,
        "SettingsDigest": plan.settings_digest,
        "PlanDigest": plan.digest,
        "Digest": scan.digest,
        "Model": model.model_dump(mode="json", exclude={"folder"}) if (model := plan.way(scan).weights) else None,
        "Acquisition": scan.forward.digested(),
        **({"SliceWidth": scan.width.model_dump(mode="json")} if scan.width else {}),
        **({"SliceOverlap": overlap} if (overlap := overlap_of(scan, plan.settings.slices)) else {}),
        "Seed": plan.settings.seed,
        "Versions": versions(),
        **({"Maps": about} if (about := _about_maps(job, scan)) else {}),
        **({"Restoration": how} if (how := _about(job, scan)) else {}),
        **({"DependsOn": beside} if (beside := plan.depends_on.get(plan.way(scan).method)) else {}),
    }


def _about(job: Job, scan: ScanPlan) -> dict[str, str]:
    """What is to be known of how a scan was restored."""
    return method_of(job).about(scan.source_grid, scan.target_grid, told_of(job, scan, "figures"))


def _about_maps(job: Job, scan: ScanPlan) -> dict[str, dict[str, Any]]:
    """What is to be known of the maps beside a restored scan, by their names."""
    about = method_of(job).about_maps_of(facts_of_scan(scan, read_plan(job.out, job.plan).settings).look)
    beyond = {UNCERTAINTY: about[UNCERTAINTY] | {"Description": OUTSIDE}} if UNCERTAINTY in about and _outside(job, scan) else {}
    return about | beyond


def _write_files(job: Job, scan: ScanPlan, restored: Restored, said: dict[str, Any]) -> tuple[dict[str, str], list[Problem]]:
    """Write image and sidecar, maps and labels; their paths and sha256, and a flag for each of the labels that was left out."""
    out = Output(job.out)
    image, side = f"{scan.stem}.nii.gz", f"{scan.stem}.json"
    measured = restored.measured
    stripped = looks_skull_stripped(measured.image, measured.grid)
    together = said["Inputs"]
    content = derivatives.sidecar(
        scan.metadata, list(together), measured.grid, restored.target, skull_stripped=stripped, provenance=said
    )
    digest = nifti.save(out.path(image), restored.image, restored.target, stored_as(job, scan))
    files.write_json(out.path(side), content)
    carried, left_out = write_labels(out, scan, read_plan(job.out, job.plan).settings.trust, stored_as(job, scan))
    return {image: digest, side: files.sha256(out.path(side))} | _write_maps(job, scan, content) | carried, left_out


def _write_maps(job: Job, scan: ScanPlan, content: dict[str, Any]) -> dict[str, str]:
    """Write the maps beside a restored image, each with the image's sidecar; their paths and sha256."""
    store, path, out = store_of(job), path_of(job, scan, "restored"), Output(job.out)
    written, about = {}, _about_maps(job, scan)
    for name in names_of(store, path):
        stem = derivatives.map_stem(scan.stem, name)
        image = store.read(path_of_map(path, name))
        written[f"{stem}.nii.gz"] = nifti.save(out.path(f"{stem}.nii.gz"), image, scan.target_grid, stored_as(job, scan))
        meaning = f"{meaning_of(name).description} {about.get(name, {}).get('Description', '')}"
        files.write_json(out.path(f"{stem}.json"), content | {"Description": meaning.strip()})
        written[f"{stem}.json"] = files.sha256(out.path(f"{stem}.json"))
    return written


def _outside(job: Job, scan: ScanPlan) -> list[Problem]:
    """The flag of a scan that was restored though the method or its model is not for it."""
    reasons = outside_of(job, scan) if read_plan(job.out, job.plan).settings.outside_domain else []
    return [("outside-domain", f"outside what {method_of(job).name} is for: {'; '.join(reasons)}")] if reasons else []


def _record(job: Job, scan: ScanPlan, quality: Quality, metrics: dict[str, float], said: dict[str, Any]) -> ScanRecord:
    problems = [*_outside(job, scan), *quality.problems]
    return ScanRecord(
        key=scan.key,
        state="flagged" if problems else "done",
        code=problems[0][0] if problems else "",
        reason="; ".join(reason for _, reason in problems),
        digest=scan.digest,
        plan_digest=job.plan,
        method=method_of(job).name,
        inputs=said["Inputs"],
        quality=quality.figures,
        metrics=metrics,
        steps=told_of(job, scan, "steps"),
        pictures=told_of(job, scan, "pictures"),
        **told_of(job, scan, "pace"),
        maps=names_of(store_of(job), path_of(job, scan, "restored")),
        provenance=said | {"Source": scan.source, "Target": scan.target},
    )


def _remove_renamed(job: Job, scan: ScanPlan, outputs: dict[str, str]) -> None:
    """Remove what an earlier run wrote of a scan by other names, as it was written; nothing that another scan's name says."""
    scans = read_plan(job.out, job.plan).scans
    stems = [stem for member in scans for stem in (member.stem, *(label.stem for label in member.labels))]
    remove_former(Output(job.out), Output(job.out).read_record(scan.key), outputs, stems)


def _export(job: Job, scan: ScanPlan) -> None:
    out, path = Output(job.out), path_of(job, scan, "consistency")
    if out.done(scan.key, scan.digest) and store_of(job).done(path, scan.digest):
        return
    start = time.monotonic()
    restored = read_restored(job, scan)
    quality = _assess(job, scan, restored)
    quality = replace(quality, figures=_finite(quality.figures | told_of(job, scan, "figures")))
    attrs = {"of": scan.digest, "unit": "standard deviations of the noise"}
    write_image(store_of(job), path, quality.consistency_map, restored.measured.grid, attrs, scan.digest)
    metrics = _metrics(restored, _reference(scan))
    provenance = _provenance(job, scan)
    rounded = {name: float(f"{value:.6g}") for name, value in quality.figures.items()}
    outputs, left_out = _write_files(job, scan, restored, provenance | {"Quality": rounded})
    quality = replace(quality, problems=[*quality.problems, *left_out])
    _remove_renamed(job, scan, outputs)
    seconds = dict(job.seconds) | {"export": round(time.monotonic() - start, 3)}
    out.write_record(_record(job, scan, quality, metrics, provenance).model_copy(update={"outputs": outputs, "seconds": seconds}))


def export(job: Job) -> float:
    """Assess, write NIfTI, sidecar and record of the job's scans; seconds it took."""
    start = time.monotonic()
    for scan in scans_of(job):
        mended(job, partial(steadily, job, partial(_export, job, scan)))
    return round(time.monotonic() - start, 3)
