"""Who is champion, how that came to be, and the way back: always the very bytes, or an error and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UsageError, WeightsError
from core.harmonize import model as harmonizers
from core.models import bundle as bundles
from core.models import weights
from tasks.registry.models import Models
from tasks.registry.resolve import register

Write = Callable[[float], str]


@pytest.fixture
def models(uri: str, tmp_path: Path) -> Models:
    return Models(uri, tmp_path / "cache")


def champion(models: Models, name: str = "unet") -> str:
    return models.find(f"{name}@champion").version


def tamper(models: Models, said: str) -> None:
    path = Path(models.check(models.find(said)).folder) / weights.TENSORS
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


# -- what is there


def test_the_first_is_champion_and_the_next_challenges(models: Models, model: Write) -> None:
    first, second = models.add(model(1.0), "unet", {"psnr": 30.5}), models.add(model(2.0), "unet")
    assert (first.version, first.aliases, first.figures) == ("1", ("champion",), {"psnr": 30.5})
    assert (second.version, second.aliases, second.figures) == ("2", ("challenger",), {})
    third = models.add(model(3.0), "unet")
    assert [(each.version, each.aliases) for each in models.versions("unet")] == [
        ("3", ("challenger",)),
        ("2", ()),
        ("1", ("champion",)),
    ]
    assert third.sha256 == bundles.read_bundle(model(3.0)).sha256
    assert third.digest == bundles.read_bundle(model(3.0)).digest
    assert third.created.endswith("+00:00")


def test_a_known_model_stays_what_it_is(models: Models, model: Write) -> None:
    for _ in range(2):
        assert models.add(model(1.0), "unet").aliases == ("champion",)
    assert [event.what for event in models.history("unet")] == ["first"]


def test_a_known_model_does_not_take_the_place_of_a_newer_challenger(models: Models, model: Write) -> None:
    """As where a training that is over is started once more, or a card is renewed by an import."""
    for weight in (1.0, 2.0, 3.0):
        models.add(model(weight), "unet")
    assert models.add(model(2.0), "unet").aliases == ()
    assert models.find("unet@challenger").version == "3"
    models.crown("unet", "3", "promoted")
    assert models.add(model(2.0), "unet").aliases == ("challenger",)


def test_the_harmoniser_that_was_fitted_last_is_champion(models: Models, tmp_path: Path) -> None:
    for number in (1, 2):
        fitted = harmonizers.Harmonizer(contrast="T1w", method="cubic", voxel_size=number, field_of_view=(1, 2, 3))
        harmonizers.save(str(tmp_path / str(number)), fitted, "# card")
        assert models.add(str(tmp_path / str(number)), "harmonize-nyul").aliases == ("champion",)
    assert [each.aliases for each in models.versions("harmonize-nyul")] == [("champion",), ()]
    assert [event.what for event in models.history("harmonize-nyul")] == ["first", "fitted anew"]
    assert models.rollback("harmonize-nyul").version == "1"


def test_models_are_listed_by_name(models: Models, model: Write) -> None:
    assert models.versions() == []
    for name in ("unet", "esrgan 3d", "diffusion-iqt"):
        models.add(model(1.0), name)
    assert [each.name for each in models.versions()] == ["diffusion-iqt", "esrgan 3d", "unet"]


def test_a_version_is_found_as_it_is_said(models: Models, model: Write) -> None:
    for number in (1.0, 2.0, 3.0):
        models.add(model(number), "unet")
    said = ("unet", "unet@champion", "unet@challenger", "unet/2", "models:/unet/2", "models:/unet@champion")
    assert [models.find(each).version for each in said] == ["1", "1", "3", "2", "2", "1"]


def test_of_a_name_without_aliases_the_newest_is_meant(models: Models, model: Write) -> None:
    for number in (1.0, 2.0):
        register(model(number), "unet", models.uri)
    assert models.find("unet").version == "2"


def test_all_there_is_to_say_of_a_version(models: Models, model: Write) -> None:
    models.add(model(1.0), "unet", {"psnr": 30.5})
    story = models.show("unet")
    assert (story.version.uri, story.spec.network, story.card) == ("models:/unet/1", "UNet", "A test.")
    assert [(event.what, event.before, event.version) for event in story.history] == [("first", "", "1")]
    assert story.decisions == []


def test_an_unknown_name_alias_or_version(models: Models, model: Write) -> None:
    models.add(model(1.0), "unet")
    for said in ("unets", "unet@production", "unet/7", "models:/unets@champion", "it's"):
        with pytest.raises(UsageError, match=r"model-unknown: expected .*, but got (unet|1 champion)\. See isovox models list"):
            models.find(said)


# -- back again


def crown(models: Models, *versions: str) -> None:
    for version in versions:
        models.crown("unet", version, "promoted")


def test_a_rollback_restores_the_very_bytes(models: Models, model: Write) -> None:
    first = models.add(model(1.0), "unet")
    before = Path(models.check(first).folder, weights.TENSORS).read_bytes()
    models.add(model(2.0), "unet")
    crown(models, "2")
    back = models.rollback("unet")
    assert (back.version, back.aliases, back.sha256, back.digest) == ("1", ("champion",), first.sha256, first.digest)
    assert Path(models.check(models.find("unet@champion")).folder, weights.TENSORS).read_bytes() == before
    assert [(event.what, event.before, event.version) for event in models.history("unet")] == [
        ("first", "", "1"),
        ("promoted", "1", "2"),
        ("rolled back", "2", "1"),
    ]


def test_rollbacks_go_back_one_by_one_and_end_with_an_error(models: Models, model: Write) -> None:
    for number in (1.0, 2.0, 3.0):
        models.add(model(number), "unet")
    crown(models, "2", "3")
    assert [models.rollback("unet").version for _ in range(2)] == ["2", "1"]
    with pytest.raises(UsageError, match=r"no-former: expected a former champion of unet, but got version 1 alone"):
        models.rollback("unet")
    assert champion(models) == "1"
    crown(models, "3")
    assert models.succession("unet") == ["1", "3"]


def test_one_that_was_champion_twice(models: Models, model: Write) -> None:
    for number in (1.0, 2.0):
        models.add(model(number), "unet")
    crown(models, "2", "1")
    assert models.succession("unet") == ["1", "2", "1"]
    assert models.rollback("unet").version == "2"


def test_a_champion_made_without_isovox_has_a_former_one_too(models: Models, model: Write) -> None:
    register(model(1.0), "unet", models.uri, alias="champion")
    models.add(model(2.0), "unet")
    crown(models, "2")
    register(model(3.0), "unet", models.uri, alias="champion")
    assert models.succession("unet") == ["1", "2", "3"]
    assert [models.rollback("unet").version for _ in range(2)] == ["2", "1"]


def test_what_comes_along_is_renewed_with_isovox_until_people_decide(models: Models, model: Write) -> None:
    came = []
    for value in (1.0, 2.0, 1.0, 2.0):  # the third time by an older isovox beside
        models.bring(model(value), "unet")
        came.append(champion(models))
    assert came == ["1", "2", "2", "2"]
    models.rollback("unet")
    models.bring(model(2.0), "unet")
    assert champion(models) == "1"
    register(model(3.0), "unet", models.uri, alias="champion")
    models.bring(model(4.0), "unet")
    assert (champion(models), len(models.versions("unet"))) == ("3", 3)


@pytest.mark.parametrize("promoted", [True, False])
def test_a_change_of_champion_that_was_killed_half_way(models: Models, model: Write, promoted: bool) -> None:
    """The alias is set, the event is not yet noted."""
    for number in (1.0, 2.0, 3.0):
        models.add(model(number), "unet")
    crown(models, "2")
    models._client.set_registered_model_alias("unet", "champion", "3" if promoted else "1")
    assert models.succession("unet") == (["1", "2", "3"] if promoted else ["1"])


def test_no_rollback_where_there_never_was_a_champion(models: Models, model: Write) -> None:
    register(model(1.0), "unet", models.uri)
    with pytest.raises(UsageError, match=r"no-former: .* got no champion at all"):
        models.rollback("unet")


def test_no_rollback_to_weights_that_changed(models: Models, model: Write) -> None:
    for number in (1.0, 2.0):
        models.add(model(number), "unet")
    crown(models, "2")
    tamper(models, "unet/1")
    with pytest.raises(WeightsError, match="weights-digest"):
        models.rollback("unet")
    assert champion(models) == "2"
    with pytest.raises(WeightsError, match="weights-digest"):
        models.show("unet/1")


def test_a_crowned_challenger_challenges_no_longer(models: Models, model: Write) -> None:
    for number in (1.0, 2.0):
        models.add(model(number), "unet")
    crown(models, "2")
    assert models.find("unet/2").aliases == ("champion",)
    with pytest.raises(UsageError, match=r"no-challenger: expected a challenger of unet, but got champion 2 alone"):
        models.pair("unet")


# -- out again


def test_an_exported_model_is_the_same_and_stays(models: Models, model: Write, tmp_path: Path) -> None:
    (Path(model(1.0)) / "split.json").write_text('{"train": ["01"]}')
    first = models.add(str(tmp_path / "model-1.0"), "unet")
    out = tmp_path / "exported"
    for _ in range(2):
        assert models.export("unet", str(out)).digest == first.digest
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "config.json", "model.safetensors", "split.json"]
    assert weights.read_tensors(str(out), first.sha256)["w"].item() == 1
    assert json.loads((out / "split.json").read_text()) == {"train": ["01"]}


@pytest.mark.parametrize("there", ["README.md", "model.safetensors", "thesis.tex"])
def test_other_files_are_never_overwritten(models: Models, model: Write, tmp_path: Path, there: str) -> None:
    models.add(model(1.0), "unet")
    out = tmp_path / "mine"
    out.mkdir()
    (out / there).write_text("mine")
    with pytest.raises(UsageError, match=f"folder-taken: .*, but got {there}"):
        models.export("unet", str(out))
    assert [path.read_text() for path in out.iterdir()] == ["mine"]


def test_a_model_of_half_the_size_is_another_model(models: Models, model: Write, tmp_path: Path) -> None:
    first = models.add(model(1.0), "unet")
    half = str(tmp_path / "half")
    models.export_half("unet", half)
    spec = bundles.read_bundle(half)
    assert str(weights.read_tensors(half, spec.sha256)["w"].dtype) == "torch.float16"
    assert spec.digest != first.digest
    with pytest.raises(UsageError, match="an empty folder"):
        models.export_half("unet", half)


def test_tampered_weights_are_not_exported(models: Models, model: Write, tmp_path: Path) -> None:
    models.add(model(1.0), "unet")
    tamper(models, "unet")
    with pytest.raises(WeightsError, match="weights-digest"):
        models.export("unet", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_pickle_is_not_added(models: Models, model: Write) -> None:
    import torch

    folder = Path(model(1.0))
    torch.save({"w": torch.ones(1)}, folder / weights.TENSORS)
    with pytest.raises(WeightsError, match="weights-pickle"):
        models.add(str(folder), "unet")
    assert models.versions() == []
