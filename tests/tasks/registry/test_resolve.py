"""A registered model is found again by name, version and alias, is the very one, and is never a pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UsageError, WeightsError
from core.models import bundle as bundles
from core.models import card as cards
from core.models import domain as domains
from core.models import weights
from tasks.registry import resolve as registry
from tasks.registry.resolve import register, resolve

MODEL = (weights.TENSORS, bundles.CONFIG, cards.README)


def test_a_model_is_found_by_version_and_alias_and_is_the_same(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    first = register(model(1.0), "unet small", uri, alias="production")
    second = register(model(2.0), "unet small", uri)
    assert (first.version, second.version) == ("1", "2")
    by_alias, by_version = (resolve(f"models:/unet small{at}", uri, tmp_path / "cache") for at in ("@production", "/2"))
    assert (by_alias.version, by_alias.digest, by_alias.sha256) == ("1", first.digest, first.sha256)
    assert (by_version.version, by_version.digest) == ("2", second.digest)
    assert weights.read_tensors(by_version.folder, by_version.sha256)["w"].item() == 2
    assert not (Path(by_version.folder) / "stray.pkl").exists()


def test_an_alias_that_moves_on_leaves_what_was_resolved(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    register(model(1.0), "unet", uri, alias="production")
    before = resolve("models:/unet@production", uri, tmp_path)
    register(model(2.0), "unet", uri, alias="production")
    assert resolve("models:/unet@production", uri, tmp_path).version == "2"
    assert weights.read_tensors(before.folder, before.sha256)["w"].item() == 1


def test_the_same_model_is_the_same_version(uri: str, model: Callable[[float], str]) -> None:
    assert {register(model(1.0), "unet", uri).version for _ in range(3)} == {"1"}


def test_what_was_written_beside_the_weights_since_is_in_the_registry_once_it_is_registered_again(
    uri: str, model: Callable[[float], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As isovox models tested and calibrated write it; also where another machine has fetched the model before."""
    from mlflow import MlflowClient

    register(model(1.0), "unet", uri)
    client, cache = MlflowClient(tracking_uri=uri), tmp_path / "cache"
    before = registry.folder_of(version := registry._version(client, "models:/unet/1"), cache)
    (tmp_path / "model-1.0" / domains.FILE).write_text('{"contrasts": ["T1w"]}')
    assert register(model(1.0), "unet", uri).version == "1"
    domain = Path(resolve("models:/unet/1", uri, cache).folder, domains.FILE)
    assert domains.read_domain(str(domain.parent)).contrasts == ("T1w",)
    renewed = registry._version(client, "models:/unet/1")
    for each in (version, renewed):
        each._source = "mlflow-artifacts:/1/abc/artifacts/model"
    assert registry.folder_of(version, cache) != registry.folder_of(renewed, cache)
    assert registry.folder_of(renewed, cache).name.startswith(f"{registry.folder_of(version, cache).name}-")
    domain.write_text("{}")
    monkeypatch.setattr(MlflowClient, "log_artifacts", lambda *_: pytest.fail("sent again"))
    (tmp_path / "model-1.0" / domains.FILE).write_text("{}")
    register(model(1.0), "unet", uri)
    assert before == domain.parent


@pytest.mark.parametrize("file", [domains.FILE, cards.FILE, "calibration.json", bundles.SPLIT])
@pytest.mark.parametrize("known", [False, True])
def test_a_model_with_a_damaged_file_beside_its_weights_does_not_enter(
    uri: str, model: Callable[[float], str], tmp_path: Path, file: str, known: bool
) -> None:
    """Neither as a new version nor in the place of what a version has."""
    folder = model(1.0)
    if known:
        register(folder, "unet", uri)
    Path(folder, file).write_text("{" if file != bundles.SPLIT else '{"sha256": 3}')
    with pytest.raises(WeightsError, match=f"{file.removesuffix('.json')}-unreadable: expected a model's {file}"):
        register(folder, "unet", uri)
    if known:
        assert not Path(resolve("models:/unet/1", uri, tmp_path / "cache").folder, file).exists()
    else:
        with pytest.raises(UsageError, match="model-unknown"):
            resolve("models:/unet/1", uri, tmp_path / "cache")


def test_a_folder_resolves_to_itself(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    folder = model(1.0)
    found = resolve(folder, uri, tmp_path)
    assert (found.folder, found.name, found.version) == (folder, "model-1.0", "")
    assert found.sha256 == bundles.read_bundle(folder).sha256


def test_weights_that_changed_since_are_refused(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    register(model(1.0), "unet", uri)
    tensors = Path(resolve("models:/unet/1", uri, tmp_path).folder) / weights.TENSORS
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + b"\x00")
    with pytest.raises(WeightsError, match=r"weights-digest: expected model.safetensors with sha256"):
        resolve("models:/unet/1", uri, tmp_path)


def test_a_whole_model_put_in_anothers_place_is_refused(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    register(model(1.0), "unet", uri)
    place, other = Path(resolve("models:/unet/1", uri, tmp_path).folder), Path(model(2.0))
    for part in MODEL:
        (place / part).write_bytes((other / part).read_bytes())
    with pytest.raises(WeightsError, match=r"weights-digest: expected the model that was registered as unet 1"):
        resolve("models:/unet/1", uri, tmp_path)


def test_pickles_are_refused(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    import torch

    folder = Path(model(1.0))
    torch.save({"w": torch.ones(1)}, folder / weights.TENSORS)
    with pytest.raises(WeightsError, match="weights-pickle"):
        register(str(folder), "unet", uri)
    (folder / bundles.CONFIG).unlink()
    with pytest.raises(WeightsError, match="weights-pickle"):
        resolve(str(folder), uri, tmp_path)


def test_an_upload_that_is_not_whole_is_not_registered(
    uri: str, model: Callable[[float], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = model(1.0)
    download = registry._download

    def cut(source: str, at: str, into: str) -> str:
        fetched = download(source, at, into)
        tensors = Path(fetched) / weights.TENSORS
        tensors.write_bytes(tensors.read_bytes()[:-1])
        return fetched

    monkeypatch.setattr(registry, "_download", cut)
    with pytest.raises(WeightsError, match="weights-digest"):
        register(folder, "unet", uri)
    with pytest.raises(UsageError, match=r"model-unknown: expected models:/unet/1 in the registry"):
        resolve("models:/unet/1", uri, tmp_path)
    monkeypatch.undo()
    assert register(folder, "unet", uri).version == "1"


def test_a_remote_model_is_fetched_once(
    uri: str, model: Callable[[float], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registered = register(model(1.0), "unet", uri)
    version = registry._version(__import__("mlflow").MlflowClient(tracking_uri=uri), "models:/unet/1")
    fetched: list[str] = []

    def download(source: str, _: str, into: str) -> str:
        fetched.append(source)
        for part in MODEL:
            Path(into, part).write_bytes(Path(registered.folder, part).read_bytes())
        return into

    monkeypatch.setattr(registry, "_download", download)
    version._source = "mlflow-artifacts:/1/abc/artifacts/model"
    folders = {registry._fetch(version, uri, tmp_path / "cache") for _ in range(2)}
    assert fetched == [version.source]
    assert folders == {tmp_path / "cache" / registered.digest} == set((tmp_path / "cache").iterdir())


def test_files_that_mlflow_has_no_more_are_told(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    register(model(1.0), "unet", uri)
    shutil.rmtree(resolve("models:/unet/1", uri, tmp_path / "cache").folder)  # as of a home that was moved
    with pytest.raises(WeightsError, match=r"weights-missing: expected the files of unet 1 at .*model, but got .* by --model"):
        resolve("models:/unet/1", uri, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["models:/unet", "models:/unet/latest", "models:/a/b/3", "models:/it's/1"])
def test_a_name_that_cannot_be_one(name: str, uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model-name: expected models:/name@alias or models:/name/3"):
        resolve(name, uri, tmp_path)


def test_a_config_without_its_weights(uri: str, model: Callable[[float], str], tmp_path: Path) -> None:
    folder = Path(model(1.0))
    (folder / weights.TENSORS).unlink()
    assert json.loads((folder / bundles.CONFIG).read_text())["network"] == "UNet"
    with pytest.raises(WeightsError, match="weights-missing"):
        resolve(str(folder), uri, tmp_path)


@pytest.mark.parametrize("name", [" ", ".", "..", "..old", "a/b", "it's", ""])
def test_a_name_that_mlflow_would_not_take_is_refused_before_anything_is_sent(
    name: str, uri: str, model: Callable[[float], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_upload", None)
    with pytest.raises(UsageError, match=r"model-name: expected a name of letters.* but got .*Choose another"):
        register(model(1.0), name, uri)
