"""What every model promises, held against the mock of each method that takes one, and against the models that isovox brings."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from core.methods import registry
from core.models.bundle import Bundle, Filled, files_of, halve, read_bundle, read_part, save_bundle
from core.models.cache import load_network
from core.models.card import Card, read_card
from core.models.check import check_model
from core.models.domain import Domain, read_domain, write_domain
from core.models.sanitise import sanitise

torch = pytest.importorskip("torch")

LEARNED = [name for name, entry in registry.methods().items() if entry.takes.model]
SHIPPED = {name: folder for name in LEARNED if (folder := registry.shipped(name)) is not None}
ANYSCAN = "2f11796901399deeb54764018d0bfc2f44265060ad8db6056823ad3442a7bf8a"
GOLDEN = {
    "resunet-3d": "6331b08e6a403c4d6a7449454edee5911fd5ed45df622da114f845caad810998",
    "anyscan": ANYSCAN,
    "self-sr": ANYSCAN,
}


@pytest.fixture(params=LEARNED)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A model with random weights, as the method's family writes it."""
    place = str(tmp_path / "model")
    registry.resolve(registry.family_of(request.param).mock)(place, request.param)
    return place


def again(folder: str, out: str) -> Bundle:
    """A model read and written once more."""
    bundle = read_bundle(folder)
    parts = {role: Filled(part.network, part.config, read_part(folder, part)) for role, part in bundle.parts.items()}
    facts = {name: getattr(bundle, name) for name in Bundle.model_fields if name not in {"version", "parts"}}
    return save_bundle(out, parts, read_card(folder) or "", **facts)


def hashes(folder: str, bundle: Bundle) -> dict[str, str]:
    names = ["config.json", *(part.file for part in bundle.parts.values())]
    return {name: hashlib.sha256(Path(folder, name).read_bytes()).hexdigest() for name in names}


def test_what_is_read_and_written_again_is_the_same_to_the_last_byte(folder: str, tmp_path: Path) -> None:
    bundle = read_bundle(folder)
    copy = again(folder, str(tmp_path / "again"))
    assert (copy, copy.digest) == (bundle, bundle.digest)
    assert hashes(str(tmp_path / "again"), copy) == hashes(folder, bundle)


def test_a_mock_is_the_same_each_time(folder: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["folder"]
    registry.resolve(registry.family_of(name).mock)(str(tmp_path / "other"), name)
    assert read_bundle(str(tmp_path / "other")).digest == read_bundle(folder).digest


def test_all_its_parts_load_with_their_numbers(folder: str) -> None:
    bundle = read_bundle(folder)
    for role, part in bundle.parts.items():
        network = load_network(folder, bundle, "cpu", role)
        tensors = read_part(folder, part)
        assert all(torch.equal(value, tensors[name]) for name, value in network.state_dict().items())
        assert not network.training


def test_nothing_is_wrong_with_it_here(folder: str) -> None:
    assert [point for point in check_model(folder) if point.state == "wrong"] == []


def test_domain_and_card_leave_its_digest(folder: str, tmp_path: Path) -> None:
    digest = read_bundle(folder).digest
    write_domain(folder, Domain(contrasts=("T2w",)))
    assert read_bundle(folder).digest == digest
    told = str(tmp_path / "told")
    bundle = read_bundle(folder)
    parts = {role: Filled(part.network, part.config, read_part(folder, part)) for role, part in bundle.parts.items()}
    facts = {name: getattr(bundle, name) for name in Bundle.model_fields if name not in {"version", "parts"}}
    assert save_bundle(told, parts, Card(title="told"), **facts).digest == digest


def test_its_method_is_for_what_its_domain_says(folder: str, request: pytest.FixtureRequest) -> None:
    write_domain(folder, Domain(slice_thickness=(4, 5)))
    method = registry.build_method(request.node.callspec.params["folder"], {}, folder)
    assert method.domain.slice_thickness == (4, 5)


def test_sanitised_and_halved_it_is_still_a_model(folder: str, tmp_path: Path) -> None:
    write_domain(folder, Domain(contrasts=("T2w",)))
    clean, half = str(tmp_path / "clean"), str(tmp_path / "half")
    assert sanitise(folder, clean).left == ()
    halve(folder, half)
    bundle = read_bundle(folder)
    assert read_bundle(clean).digest == bundle.digest
    assert sorted(files_of(clean, bundle)) == sorted(files_of(folder, bundle))
    assert read_domain(clean) == read_domain(half) == Domain(contrasts=("T2w",))
    assert [point for point in check_model(half) if point.state == "wrong"] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_that_isovox_brings_keeps_its_digest_and_says_what_it_is_for(name: str, tmp_path: Path) -> None:
    folder = str(SHIPPED[name])
    assert read_bundle(folder).digest == GOLDEN[name]
    assert read_domain(folder).stated
    card = read_card(folder)
    assert card is not None
    assert (card.markdown(), bool(card.data), bool(card.limits)) == (Path(folder, "README.md").read_text(), True, True)
    assert [point for point in check_model(folder) if point.state == "wrong"] == []
    shutil.copytree(folder, tmp_path / "copy")
    assert sanitise(str(tmp_path / "copy"), str(tmp_path / "clean")).removed == ()
