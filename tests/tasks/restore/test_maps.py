"""Maps and figures beside a restored image: from the method through the store to files, record and page; mended where torn."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.engine.plan import Weights
from core.io import derivatives, files, nifti
from core.io.output import Output
from core.methods import registry
from core.models.bundle import read_bundle
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.export import export
from tasks.pipeline.pages import report
from tasks.pipeline.verify import verify_scan
from tasks.restore import tiles
from tasks.restore.work import Job, ingest, restore, restored, scans_of, store_of

FAMILY = "mapping_family"
pytestmark = pytest.mark.usefixtures("own_family")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two scans of a person, thick along different axes."""
    root = tmp_path / "cohort"
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "two", "BIDSVersion": "1.9.0", "License": "CC0"}))
    draw = np.random.default_rng(0)
    for name, size in {"ax": (2, 2, 4), "cor": (2, 4, 2)}.items():
        shape = tuple(56 // each for each in size)
        image = nibabel.Nifti1Image(draw.random(shape, np.float32) + 100, np.diag([*map(float, size), 1]))
        nibabel.save(image, folder / f"sub-01_acq-{name}_T1w.nii.gz")
    return root


def stored(cohort: Path, *, fuse: bool = False) -> tuple[Job, Output]:
    """A job of a plan in an output."""
    settings = RunSettings(
        input=str(cohort), out=str(cohort.parent / "out"), method="telling", voxel_size=2, fuse=fuse, repair=False
    )
    plan = plan_cohort(settings)
    out = Output(settings.out)
    assert not plan.refused, plan.refused
    files.write_json(out.plan, plan.model_dump(mode="json"))
    keys = tuple(scan.key for scan in plan.scans) if fuse else (plan.scans[0].key,)
    return Job(settings.out, plan.digest, keys), out


def test_a_map_is_written_beside_the_image_and_drawn(cohort):
    job, out = stored(cohort)
    for stage in (ingest, restore, export, report):
        stage(job)
    record = out.read_record(job.keys[0])
    image, grid, _ = nifti.load(out.path("sub-01/anat/sub-01_acq-ax_desc-restored_T1w.nii.gz"))
    sd, where, _ = nifti.load(out.path("sub-01/anat/sub-01_acq-ax_desc-restoredSd_T1w.nii.gz"))
    np.testing.assert_allclose(sd, image / 10, rtol=1e-6)
    assert where == grid
    said = files.read_json(out.path("sub-01/anat/sub-01_acq-ax_desc-restoredSd_T1w.json"))["Description"]
    assert said.startswith("Standard deviation over")
    assert said.endswith(" Of T1w.")
    assert {one for one in record.outputs if "restoredSd" in one} == {
        f"sub-01/anat/sub-01_acq-ax_desc-restoredSd_T1w{end}" for end in (".nii.gz", ".json")
    }
    assert (record.maps, record.quality["told"]) == (("sd",), 0.0)
    assert np.shape(record.pictures["kernel"]) == (2, 3)
    np.testing.assert_allclose(record.pictures["kernel"], image[:2, :3, 0], rtol=1e-5)
    page = Path(out.scan_page(record.key)).read_text()
    assert "Uncertainty: standard deviation" in page
    assert "Of T1w." in page
    assert "Kernel: 2 by 3 values" in page
    assert next(iter(record.outputs)).endswith("desc-restored_T1w.nii.gz")  # the image comes first


def test_scans_that_are_fused_have_each_their_own(cohort):
    job, out = stored(cohort, fuse=True)
    for stage in (ingest, restore, export):
        stage(job)
    records = [out.read_record(key) for key in job.keys]
    assert [record.quality["told"] for record in records] == [0.0, 1.0]
    for key, name in zip(job.keys, ("ax", "cor"), strict=True):
        image, sd = (
            nifti.load(out.path(f"sub-01/anat/sub-01_acq-{name}_desc-{what}_T1w.nii.gz"))[0]
            for what in ("restored", "restoredSd")
        )
        np.testing.assert_allclose(sd, image / 10, rtol=1e-6, err_msg=key)


def test_a_torn_map_is_seen_by_verify_and_made_anew(cohort):
    job, out = stored(cohort)
    for stage in (ingest, restore, export, report):
        stage(job)
    (scan,) = scans_of(job)
    assert verify_scan(out, {scan.key: scan}, scan.key).images == 4
    chunks = Path(out.store, scan.key, "telling", "map-sd", "image", "c")
    torn = next(path for path in sorted(chunks.rglob("*")) if path.is_file())
    torn.write_bytes(torn.read_bytes()[:20])
    found = verify_scan(out, {scan.key: scan}, scan.key)
    assert {problem.image for problem in found.problems} == {f"{scan.key}/telling/map-sd"}
    torn.unlink()
    assert not restored(job)
    restore(job)
    assert restored(job)
    assert verify_scan(out, {scan.key: scan}, scan.key).problems == ()


@pytest.mark.parametrize(
    ("stem", "wanted"),
    [
        ("sub-1/anat/sub-1_desc-restored_T1w", "sub-1/anat/sub-1_desc-restoredSd_T1w"),
        ("a/b/scan_desc-restored", "a/b/scan_desc-restoredSd"),
    ],
)
def test_a_map_is_named_after_its_image(stem, wanted):
    assert derivatives.map_stem(stem, "sd") == wanted


@pytest.mark.parametrize("repair", [False, True])
def test_maps_of_patches_are_the_same_bytes_as_tiles(cohort: Path, tmp_path: Path, *, repair: bool) -> None:
    """A network tells its uncertainty patch by patch: blended as the image is, stored and finished with it, unrepaired."""
    registry.resolve(registry.family_of("anyscan").mock)(str(tmp_path / "model"), "anyscan")
    weights = Weights(folder=str(tmp_path / "model"), sha256=read_bundle(str(tmp_path / "model")).digest)
    stored_maps = []
    for number, mode in enumerate(("scan", "tile")):
        how = {"input": str(cohort), "out": str(tmp_path / mode), "method": "anyscan", "voxel_size": 2, "repair": repair}
        settings = RunSettings.model_validate(how | {"tiling": {"patch": 24, "overlap": 8, "mode": mode}})
        plan = plan_cohort(settings, weights)
        files.write_json(Output(settings.out).plan, plan.model_dump(mode="json"))
        scan = plan.scans[0]
        job = Job(settings.out, plan.digest, (scan.key,))
        ingest(job)
        if number == 0:
            restore(job)
        else:
            count, blocks = tiles.prepare_tiles(job)
            assert count > 1
            for part in tiles.parts(job, count, 3):
                tiles.restore_some_tiles(part)
            for part in tiles.parts(job, blocks, 1):
                tiles.assemble_blocks(part)
            tiles.finish_tiles(job)
        assert restored(job)
        store = store_of(job)
        stored_maps.append(store.read(f"{scan.key}/anyscan/map-uncertainty").tobytes())
        assert {path.name for path in Path(store.uri, scan.key, "anyscan").iterdir() if path.is_dir()} == {
            "restored",
            "map-uncertainty",
        }
        assert (store.read(f"{scan.key}/anyscan/map-uncertainty") > 0).all()
    assert stored_maps[0] == stored_maps[1]


def test_a_map_of_samples_says_its_sampler_in_sidecar_record_and_page(cohort: Path, tmp_path: Path) -> None:
    registry.resolve(registry.family_of("diffusion-iqt").mock)(str(tmp_path / "model"), "diffusion-iqt")
    weights = Weights(folder=str(tmp_path / "model"), sha256=read_bundle(str(tmp_path / "model")).digest)
    how = {"method": "diffusion-iqt", "voxel_size": 2, "method_options": {"samples": 2, "steps": 1}, "outside_domain": True}
    settings = RunSettings.model_validate({"input": str(cohort), "out": str(tmp_path / "out")} | how)
    plan, out = plan_cohort(settings, weights), Output(settings.out)
    files.write_json(out.plan, plan.model_dump(mode="json"))
    job = Job(settings.out, plan.digest, (plan.scans[0].key,))
    for stage in (ingest, restore, export, report):
        stage(job)
    sidecar = files.read_json(out.path("sub-01/anat/sub-01_acq-ax_desc-restoredSd_T1w.json"))
    words = "Of 2 samples by dpm-solver++ in 1 step, which keep "
    assert words in sidecar["Description"]
    assert sidecar["Isovox"]["Maps"]["sd"]["Sampler"] == "dpm-solver++"
    record = out.read_record(job.keys[0])
    assert record.provenance["Maps"]["sd"]["SpreadFaithful"] is False
    assert words in Path(out.scan_page(record.key)).read_text()
