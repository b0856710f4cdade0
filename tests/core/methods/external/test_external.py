"""Programs of others as methods: what they are given, what is taken from them, their limits, and what is said where they fail."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from core.errors import RestorationError, SettingsError
from core.geometry.grid import Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured
from core.methods.external.method import External
from core.methods.external.program import SHIPPED, read_program
from core.methods.registry import build_method, family_of
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats


def scan() -> tuple[Measured, Grid]:
    """A scan of 8 mm with a gap, whose axes are a little turned in the world."""
    turn = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag([2.0, 2.0, 8.0]), (-7, 3, 11)
    grid = Grid((40, 26, 8), affine)
    image = np.random.default_rng(0).uniform(10, 200, grid.shape).astype(np.float32)
    return Measured(image, grid, scan_stats(image), SliceProfile(slice_gap=0.25)), grid.isotropic(2.0)


def program(folder: Path, code: str, **more: object) -> External:
    """A method whose program is a Python script."""
    script = folder / "program.py"
    script.write_text(code)
    said = {
        "title": "Toy",
        "command": [sys.executable, str(script), "{input}", "{output}"],
        "install": "buy it",
        "minutes": 1,
        "memory": 4,
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(said | more))
    method = build_method("external", {"program": str(folder / "toy.yaml")})
    assert isinstance(method, External)
    return method


READ = "import sys, nibabel, numpy\nscan = nibabel.load(sys.argv[1])\n"


def test_a_copy_is_the_scan_interpolated() -> None:
    measured, target = scan()
    (restored,) = build_method("external", {"program": "copy"}).restore([measured], target)
    np.testing.assert_allclose(restored, interpolate(measured.image, measured.grid, target, 3), atol=1e-3)


def test_a_program_chooses_its_grid_and_its_order_of_axes(tmp_path: Path) -> None:
    """A scan with its axes swapped and turned round is the same scan."""
    code = READ + (
        "from nibabel.orientations import axcodes2ornt, ornt_transform, io_orientation\n"
        "way = ornt_transform(io_orientation(scan.affine), axcodes2ornt('SLA'))\n"
        "nibabel.save(scan.as_reoriented(way), sys.argv[2])\n"
    )
    measured, target = scan()
    (restored,) = program(tmp_path, code).restore([measured], target)
    np.testing.assert_allclose(restored, interpolate(measured.image, measured.grid, target, 3), atol=1e-3)


def test_an_image_on_the_target_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    code = READ + "nibabel.save(nibabel.Nifti1Image(scan.get_fdata(dtype='float32') * 2, scan.affine), sys.argv[2])\n"
    measured, target = scan()
    (restored,) = program(tmp_path, code, interpolated=True).restore([measured], target)
    np.testing.assert_allclose(restored, 2 * interpolate(measured.image, measured.grid, target, 3), rtol=1e-5, atol=1e-3)


def test_words_in_braces_are_filled_in(tmp_path: Path) -> None:
    code = "import sys, shutil\nshutil.copy('in/scan.nii.gz', 'out/a.nii.gz')\nopen('said', 'w').write(' '.join(sys.argv[1:]))\n"
    code += "assert open('in/age').read() == '30'\n"
    code += f"shutil.copy('said', {str(tmp_path / 'said')!r})\n"
    words = [sys.executable, str(tmp_path / "program.py"), "{thickness}", "{memory}", "{folder}/x", "{other}"]
    more = {"command": words, "input": "in/scan.nii.gz", "output": "out/*.nii.gz", "files": {"in/age": "30"}}
    measured, target = scan()
    program(tmp_path, code, **more).restore([measured], target)
    thickness, memory, folder, other = (tmp_path / "said").read_text().split()
    assert (thickness, memory, other) == ("3", "4096", "{other}")
    assert folder.endswith("/x")
    assert not Path(folder).parent.exists()


FAULTS = {
    "exit": ("import sys\nprint('no licence')\nsys.exit(3)", r"program-failed: .*end well, but got exit code 3.*no licence"),
    "silent": ("print('done')", r"program-silent: expected one file restored.nii.gz from Toy, but got 0.*done"),
    "garbage": ("import sys\nopen(sys.argv[2], 'wb').write(b'x' * 999)", r"program-output: expected a finite image of three"),
    "nan": (
        READ + "nibabel.save(nibabel.Nifti1Image(scan.get_fdata() * numpy.nan, scan.affine), sys.argv[2])",
        r"program-output: expected a finite image",
    ),
    "flat": (
        READ + "nibabel.save(nibabel.Nifti1Image(scan.get_fdata()[:, :, 0], scan.affine), sys.argv[2])",
        r"program-output: expected a finite image of three axes",
    ),
    "cropped": (
        READ + "nibabel.save(scan.slicer[8:], sys.argv[2])",
        r"program-elsewhere: expected an image of Toy that covers the scan, but got voxels \[8",
    ),
    "tidy": (
        "import os, shutil, sys\nshutil.rmtree(os.path.dirname(sys.argv[2]))",
        r"program-silent: expected one file restored.nii.gz from Toy, but got 0",
    ),
    "talkative": ("import sys\nprint('a' * 10_000_000, 'the end')\nsys.exit(3)", r"it said last: a{392} the end\. Look"),
    "greedy": (
        "import numpy\nnumpy.ones(1 << 30)",
        r"program-failed: .*exit code 1.*MemoryError.*\. Look at what it said; it had 4 GiB \(option memory\)\.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_is_said(fault: str, tmp_path: Path) -> None:
    code, said = FAULTS[fault]
    measured, target = scan()
    with pytest.raises(RestorationError, match=said):
        program(tmp_path, code).restore([measured], target)


def test_a_program_that_goes_on_is_ended_with_all_that_it_began(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(mark)!r}, 'w').write(str(time.time())); time.sleep(0.05)"
    code = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    measured, target = scan()
    method = program(tmp_path, code, minutes=0.05)
    with pytest.raises(RestorationError, match=r"program-slow: expected Toy to end within 0.05 minutes.*option minutes"):
        method.restore([measured], target)
    assert mark.exists()
    time.sleep(0.1)
    last = mark.read_text()
    time.sleep(0.3)
    assert mark.read_text() == last


def test_a_program_that_is_missing_is_said_with_how_it_is_installed(tmp_path: Path) -> None:
    measured, target = scan()
    method = program(tmp_path, "", command=["no-such-program-here", "{input}"])
    said = r"program-missing: expected the program no-such-program-here of Toy on the PATH, but got none\. Install it: buy it\."
    with pytest.raises(RestorationError, match=said):
        method.restore([measured], target)
    with pytest.raises(RestorationError, match=said):
        assert method.depends_on


def test_version_and_file_enter_digests_and_limits_do_not(tmp_path: Path) -> None:
    version = [sys.executable, "-c", "print('2.1'); print('more')"]
    first = program(tmp_path, "", version=version).depends_on
    assert first["version"] == "2.1"
    assert program(tmp_path, "", version=version, minutes=3).depends_on == first
    assert program(tmp_path, "", version=[*version, "x"]).depends_on != first
    assert program(tmp_path, "", version=[sys.executable, "-c", "1 / 0"]).depends_on["version"] == ""
    assert program(tmp_path, "", version=["printf", "2.1 f\\374r alle"]).depends_on["version"] == "2.1 f\ufffdr alle"


def test_a_script_tells_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    method = program(tmp_path, "", command=[str(script)], version=["{python}", "-c", "import sys; print(sys.executable)"])
    assert Path(method.depends_on["version"]).samefile(sys.executable)


def test_options_set_the_limits() -> None:
    method = build_method("external", {"program": "copy", "minutes": 2.5, "memory": 0.5})
    assert isinstance(method, External)
    assert (method.program.minutes, method.program.memory) == (2.5, 0.5)


@pytest.mark.parametrize("name", [entry.name for entry in family_of("external").methods if entry.name != "external"])
def test_each_program_that_isovox_knows_has_its_file(name: str) -> None:
    method = build_method(name)
    assert isinstance(method, External)
    assert method.program.install
    assert any("{input}" in word or "{folder}" in word for word in method.program.command)
    assert (SHIPPED / f"{name}.yaml").is_file()


def test_every_file_is_of_a_method_or_the_pattern() -> None:
    names = {entry.name for entry in family_of("external").methods}
    assert {path.stem for path in SHIPPED.iterdir()} == names - {"external"} | {"copy"}


@pytest.mark.parametrize("name", [None, "eclar", "/no/such.yaml"])
def test_a_program_that_nobody_knows_is_refused(name: str | None) -> None:
    method = build_method("external", {"program": name})
    with pytest.raises(SettingsError, match=r"program-unknown: expected one of bme-x, copy, eclare, .*, or a YAML file, but got"):
        assert method.domain


def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("title: x\ncommand: []\n")
    with pytest.raises(SettingsError, match=r"program-unreadable: .*bad.yaml, but got command.*install.*\. Write it as"):
        read_program(str(tmp_path / "bad.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match="program-unreadable"):
        read_program(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("input: /tmp/scan.nii.gz", r"paths below the folder of a call, but got '/tmp/scan.nii.gz'"),
        ("output: ../restored.nii.gz", r"paths below the folder of a call, but got '\.\./restored"),
        ("files: {/tmp/age: '30'}", r"paths below the folder of a call, but got '/tmp/age'"),
        ("memory: .inf", "memory: Input should be a finite number"),
    ],
)
def test_no_file_is_shared_by_calls_and_memory_has_a_limit(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(
        f"title: x\ncommand: [cp]\ninstall: here\nminutes: 1\n{line}\n" + ("" if "memory" in line else "memory: 1\n")
    )
    with pytest.raises(SettingsError, match=said):
        read_program(str(tmp_path / "bad.yaml"))


def test_a_domain_of_a_file_refuses_scans() -> None:
    assert build_method("bme-x").domain.contrasts == ("T1w",)


def test_what_a_program_writes_may_be_of_freesurfer(tmp_path: Path) -> None:
    code = READ + "nibabel.save(nibabel.MGHImage(scan.get_fdata(dtype='float32'), scan.affine), 'a.mgz')"
    measured, target = scan()
    (restored,) = program(tmp_path, code, output="a.mgz").restore([measured], target)
    np.testing.assert_allclose(restored, interpolate(measured.image, measured.grid, target, 3), atol=1e-3)


def test_what_makes_another_contrast_is_not_held_against_the_scan() -> None:
    """Else the repair of a run would take the new contrast back."""
    kept = {name: build_method(name, {}).keeps_contrast for name in ("eclare", "synthsr", "supersynth", "bme-x")}
    assert kept == {"eclare": True, "synthsr": False, "supersynth": False, "bme-x": False}
