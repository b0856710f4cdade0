"""Names of files and folders as other systems leave them: bytes that are no UTF-8, markup, line breaks, terminal codes."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser

import pytest

from cli.main import main
from core.errors import InputError, printable
from core.io import readers
from core.io.tables import read_table
from tasks.harmonize.sites import sites_of, write_table
from tests.cases.makers import bids, nifti, series
from tests.cases.test_siblings import codes
from tests.outputs import restore_all

LATIN = os.fsdecode(b"sc\xe4n")  # as a disk of the nineties has it
MARKUP = ("<b>x<b>", "a&b", 'q"uote', "ap'os", "<script>alert(1)<", "[red]x[", "{x}", "%s", "$(x)", "*", "#x", "p%20q", "-o")
STEERING = ("a\nb", "a\tb", " lead", "trail ", "a\rb", "\x1b[31mred", "\u202egnp", "\u2028x")


@pytest.mark.parametrize(
    ("text", "shown", "told"),
    [
        ("plain \u00e9 \u4e2d.nii", "plain \u00e9 \u4e2d.nii", "plain \u00e9 \u4e2d.nii"),
        (LATIN, "sc\\xe4n", "sc\\xe4n"),
        ("a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f", "a b\\x1b[31m\\x7f"),
        ("\u202egnp\ud800", "\\u202egnp\\ud800", "\\u202egnp\\ud800"),
    ],
)
def test_a_text_of_others_is_one_line_that_can_be_shown(text, shown, told):
    assert printable(text) == shown
    assert str(InputError("x", "a", text, "go")) == f"x: expected a, but got {told}. Go."


def test_scans_whose_names_are_no_text_are_refused_by_name_and_other_files_are_left_out(tmp_path):
    root = bids(tmp_path / "in", "01")
    nifti(root / "sub-02" / "anat" / f"sub-02_T1w{LATIN}.nii.gz")
    nifti(root / f"sub-{LATIN}" / "anat" / "sub-03_T1w.nii.gz")  # a folder's counts for all below it
    for name, content in (("notes.txt", b"x"), ("odd", b"\0\1\2"), ("T2w.mgz", b"\0"), ("x.mnc", b"\0")):
        (root / f"{LATIN}{name}").write_bytes(content)
    (root / f"{LATIN}.git").mkdir()
    (root / f".{LATIN}").mkdir()
    assert set(codes(root).values()) == {"name-encoding"}
    assert len(codes(root)) == 4


@pytest.mark.parametrize("every", [True, False])
def test_slices_whose_names_are_no_text_fail_their_series(tmp_path, every):
    folder = series(tmp_path / "in" / "s")
    for number in range(12) if every else (11,):
        (folder / f"IM{number:04d}").rename(folder / f"IM{LATIN}{number}")
    assert codes(tmp_path / "in") == {"s": "name-encoding"}
    series(tmp_path / "in" / LATIN)
    assert set(codes(tmp_path / "in").values()) == {"name-encoding"}


def test_notes_by_such_a_name_beside_slices_do_not_matter(tmp_path):
    folder = series(tmp_path / "in" / "s", name="IM{:04d}.dcm")
    (folder / f"{LATIN}.txt").write_text("notes")
    assert not codes(tmp_path / "in")
    assert readers.load("dicom", [str(folder)])[0].shape == (24, 24, 12)


def test_a_path_that_is_no_text_is_refused_by_every_command(tmp_path, capsys):
    nifti(tmp_path / LATIN / "x.nii.gz")
    for words in (["plan", str(tmp_path / LATIN), "out"], ["run", str(tmp_path), str(tmp_path / LATIN)], ["status", LATIN]):
        assert main(words) == 2
        told = capsys.readouterr().err
        assert re.search(r"isovox: name-encoding: expected paths in UTF-8, but got .*sc\\xe4n\. Rename the folder", told)


def test_a_call_from_a_folder_named_so_is_told_too(tmp_path, monkeypatch, capsys):
    bids(tmp_path / "in", "01")
    (tmp_path / LATIN).mkdir()
    monkeypatch.chdir(tmp_path / LATIN)
    assert main(["plan", "../in", "out"]) == 2
    assert re.search(r"isovox: name-encoding: expected paths in UTF-8, but got .*sc\\xe4n\. ", capsys.readouterr().err)


def test_names_never_break_a_line_or_steer_a_terminal(tmp_path, capsys):
    root = tmp_path / "in"
    for name in (*MARKUP, *STEERING):
        nifti(root / f"{name}.nii.gz")
    for folder in ("a\nb.zarr", "[", "[/red].zarr", ".\x1b[31m", "c[/bold].zarr"):
        (root / folder).mkdir(parents=True)
    (root / "[").joinpath("b].nii.gz").write_bytes(b"")
    (root / "n\x1b[31m\n").write_bytes(b"\0\1")
    seen = len(MARKUP) + len(STEERING) + 2
    for more in ((), ("--files",), ("--exclude", "[ab]\n*")):
        assert main(["plan", str(root), str(tmp_path / "out"), *more]) == 3
        told = capsys.readouterr().out
        assert f"files: {seen} seen = " in told
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u202e]", told)
        if "--files" in more:
            assert len([line for line in told.splitlines() if "\t" in line]) == seen + 4


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.there: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.there |= {tag} | {name for name, _ in attrs if name.startswith("on")}


@pytest.mark.slow
def test_each_scan_of_such_a_name_is_restored_and_the_pages_show_it_as_text(tmp_path, capsys):
    root, out = tmp_path / "in", tmp_path / "out"
    names = [*MARKUP, *STEERING[:6], "<i onclick=x>"]
    for name in names:
        nifti(root / f"{name}.nii.gz")
    (root / "<u>&.nii.gz").write_bytes(b"")
    (root / "<s>.zarr").mkdir()
    restore_all(str(root), str(out), voxel_size=8.0)
    assert main(["status", str(out)]) == 3
    told = capsys.readouterr().out
    assert f"planned {len(names) + 1} = {len(names)} done + 0 skipped + 0 flagged + 1 failed" in told
    assert f"files: {len(names) + 1} seen = {len(names)} of scans + 1 refused + 0 left out" in told
    assert main(["verify", str(out)]) == 0
    plain = {"u", "s", "onclick"}  # which no page has of its own
    for page in [out / "report.html", *(out / "reports").glob("*.html")]:
        parser = Tags()
        parser.feed(page.read_text())
        assert not parser.there & plain, page
        assert "<b>x<b>" not in page.read_text()
    assert "&lt;s&gt;.zarr" in (out / "report.html").read_text()


def test_a_table_that_is_written_is_read_as_it_was(tmp_path):
    rows = [{"path": '/x/"a".nii.gz', "site": "A", "notes": '"left handed'}, {"path": "/x/'b.nii.gz", "site": "A"}]
    write_table(str(tmp_path / "t.tsv"), rows)
    assert list(read_table(str(tmp_path / "t.tsv"))[1].values()) == [rows[0], rows[1] | {"notes": "n/a"}]
    assert [site.rows[0]["path"] for site in sites_of([str(tmp_path / "t.tsv")])] == ['/x/"a".nii.gz']
