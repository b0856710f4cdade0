"""Which persons and scans of the sites are asked for, and what is refused before anything is restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UsageError
from core.io import files
from core.settings.harmonize import HarmonizeSettings
from flows.runs.sites import plans_of, run_settings, sites_for
from tests.cases.makers import nifti


def dataset(folder: Path, *labels: str, site: str = "") -> Path:
    """A dataset with an empty image of each person; sites in turn, where some are named."""
    for label in labels:
        (folder / f"sub-{label}" / "anat").mkdir(parents=True)
        (folder / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz").touch()
    if site:
        lines = ["participant_id\tsite", *(f"sub-{label}\t{site[n % len(site)]}" for n, label in enumerate(labels))]
        (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def listed(path: Path, *lines: tuple[str, str]) -> Path:
    path.write_text("path\tsite\n" + "".join(f"{scan}\t{site}\n" for scan, site in lines))
    return path


def settings_of(*words: object, **said: object) -> HarmonizeSettings:
    return HarmonizeSettings(sites=tuple(str(word) for word in words), out="out", **said)


def asked(settings: HarmonizeSettings) -> dict[str, tuple[str, ...]]:
    """Labels that are restored of each site."""
    sites = sites_for(settings)
    return {site.name: run_settings(site, settings).selection.participant_label for site in sites}


def test_labels_are_looked_for_at_all_sites_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    multi = dataset(tmp_path / "multi", "00", "01", "02", "03", site="ab")
    label = {"participant_label": ("00", "sub-01")}
    assert asked(settings_of(multi, **label)) == {"a": ("00",), "b": ("01",)}
    assert asked(settings_of(multi)) == {"a": ("00", "02"), "b": ("01", "03")}
    table = listed(tmp_path / "t.tsv", *((f"multi/sub-0{n}/anat/sub-0{n}_T1w.nii.gz", "ab"[n % 2]) for n in range(4)))
    assert asked(settings_of(table, **label)) == {"a": ("00",), "b": ("01",)}
    x, y = dataset(tmp_path / "x", "00"), dataset(tmp_path / "y", "01", "02")
    assert asked(settings_of(f"x={x}", f"y={y}", **label)) == {"x": ("00",), "y": ("01",)}
    with pytest.raises(UsageError, match=r"participant-missing: expected participants of the sites, but got 07\. Check"):
        sites_for(settings_of(multi, participant_label=("00", "07")))


def test_a_site_without_any_of_the_persons_is_left_out_and_told(tmp_path):
    multi = dataset(tmp_path / "multi", "00", "01", "02", site="abc")
    one, two = sites_for(settings_of(multi, participant_label=("00", "01")))
    assert (one.name, two.name) == ("a", "b")
    assert one.notes == ("of none of the participants asked for, left out: c",)


def test_a_reference_that_is_no_site_is_refused_before_anything_is_planned(tmp_path):
    words = [f"{name}={dataset(tmp_path / name, '00')}" for name in ("oslo", "bonn")]
    with pytest.raises(UsageError, match=r"reference-empty: expected a reference among the sites oslo, bonn, but got Oslo"):
        plans_of(settings_of(*words, reference_site="Oslo"))
    assert len(sites_for(settings_of(*words, reference_site="oslo"))) == 2


def test_a_scan_of_another_contrast_in_a_table_is_refused(tmp_path):
    lines = [("d/sub-1/anat/sub-1_T1w.nii.gz", "a"), ("d/sub-2/anat/sub-2_T2w.nii.gz", "b"), ("d/series", "b")]
    table = listed(tmp_path / "t.tsv", *lines)
    with pytest.raises(UsageError, match=r"contrast-other: expected T1w scans alone, but got T2w: .*sub-2_T2w\.nii\.gz of b\. "):
        sites_for(settings_of(table))
    (tmp_path / "one.tsv").write_text("path\nd/sub-2/anat/sub-2_T2w.nii.gz\n")
    with pytest.raises(UsageError, match="contrast-other"):
        sites_for(settings_of(f"a={tmp_path}/one.tsv"))
    assert len(sites_for(settings_of(f"a={tmp_path}/one.tsv", contrast="T2w"))) == 1
    assert len(sites_for(settings_of(listed(tmp_path / "t.tsv", lines[0], lines[2])))) == 2


def test_sites_of_plain_names_are_taken_by_contrast_and_faults_name_its_option(tmp_path):
    for path in ("a/p1/T1W.nii.gz", "a/p1/T2W.nii.gz", "b/p3/T1_mprage.nii.gz"):
        nifti(tmp_path / path)
    words = [f"{name}={tmp_path / name}" for name in "ab"]
    plans = plans_of(settings_of(*words))
    assert [[files.name_of(scan.stem) for scan in plan.scans] for plan in plans] == [
        ["sub-p1_desc-restored_T1w"],
        ["sub-p3_acq-mprage_desc-restored_T1w"],
    ]
    with pytest.raises(UsageError, match=r"label-missing: .* got T2w\. Check --contrast; there are T1w, mprage\."):
        plans_of(settings_of(*words, contrast="T2w"))


def test_a_scan_at_two_sites_is_refused(tmp_path):
    table = listed(tmp_path / "t.tsv", ("d/sub-1/x.nii.gz", "a"), ("d/../d/sub-1/x.nii.gz", "b"), ("d/sub-2/x.nii.gz", "b"))
    with pytest.raises(UsageError, match=r"scan-twice: expected each scan at one site, but got x.nii.gz at a, b"):
        sites_for(settings_of(table))
    folder = dataset(tmp_path / "one", "00", "01")
    with pytest.raises(UsageError, match=r"scan-twice: .*got one at a, b"):
        sites_for(settings_of(f"a={folder}", f"b={folder}"))
    with pytest.raises(UsageError, match=r"scan-twice: .*got sub-00 at a, b"):
        sites_for(settings_of(f"a={folder}", f"b={folder}", participant_label=("00",)))


def test_a_scan_in_a_folder_within_anothers_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("00", "01"):
        nifti(tmp_path / "all" / "oslo" / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz")
    inner, outer = f"a={tmp_path / 'all' / 'oslo'}", f"b={tmp_path / 'all'}"
    twice = r"scan-twice: .*got sub-00_T1w\.nii\.gz, sub-01_T1w\.nii\.gz at a, b"
    with pytest.raises(UsageError, match=twice):
        plans_of(settings_of(inner, outer))
    table = listed(tmp_path / "t.tsv", ("all/oslo/sub-00/anat/sub-00_T1w.nii.gz", "c"))
    with pytest.raises(UsageError, match=r"scan-twice: .*got sub-00_T1w\.nii\.gz at a, c"):
        plans_of(settings_of(inner, table))


def test_a_name_that_no_model_can_have_is_refused_before_anything_is_restored(tmp_path):
    words = [f"{name}={dataset(tmp_path / name, '00')}" for name in "ab"]
    with pytest.raises(UsageError, match=r"model-name: expected a name of letters.*got 'study/2024'\. Choose another"):
        sites_for(settings_of(*words, name="study/2024"))
    assert len(sites_for(settings_of(*words, name="study 2024"))) == 2
