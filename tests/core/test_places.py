"""A ~ that the shell left as it is: one place, whoever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.io.output import Output
from core.io.tables import paths_in, read_table
from core.places import at_home
from core.settings.harmonize import HarmonizeSettings
from core.settings.run import RunSettings
from infra.services import local_state
from tasks.harmonize.sites import sites_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_only_a_tilde_that_begins_a_place_is_the_home(home: Path) -> None:
    assert [at_home(text) for text in ("~", "~/a", "oslo=~/a")] == [str(home), f"{home}/a", f"oslo={home}/a"]
    assert at_home("unet-3d+repair=~/a") == f"unet-3d+repair={home}/a"
    for text in ("~bob/a", "a~/b", "s3://b/~/c", "/x/~/y", "~>=45", "", "./~/x", "a/b=~/c"):
        assert at_home(text) == text


def test_images_records_and_databases_of_a_run_lie_in_one_folder(home: Path) -> None:
    settings = RunSettings(input="~/in", out="~/res", model="~/weights", method="resunet-3d")
    assert (settings.input, settings.out, settings.model) == (f"{home}/in", f"{home}/res", f"{home}/weights")
    assert Output("~/res").uri == Output(settings.out).uri == settings.out
    assert local_state("~/res") == local_state(settings.out) == home.resolve() / "res" / "isovox"


def test_sites_and_tables_may_name_the_home(home: Path) -> None:
    table = home / "all.tsv"
    table.write_text("path\tsite\tage\tnotes\n~/a.nii\tA\t20\t~/x\n")
    assert HarmonizeSettings(sites=("oslo=~/oslo", "~/all.tsv"), out="~/o").sites == (f"oslo={home}/oslo", str(table))
    assert paths_in(str(table)) == [f"{home}/a.nii"]
    assert read_table(str(table))[1][2]["notes"] == "~/x"
    (site,) = sites_of([str(table)])
    assert site.person(f"{home}/a.nii", "").age == 20
