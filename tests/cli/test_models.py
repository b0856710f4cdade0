"""``isovox models`` as a user calls it: a checkpoint imported, compared on restored scans, promoted, rolled back, exported."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from cli import main as cli
from core.evaluation.metrics import significance
from core.models import bundle as bundles
from core.networks import build
from tests.phantoms import brain

torch = pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}
SCANS = 6  # fewer cannot show a difference


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def own(home, monkeypatch):
    monkeypatch.setenv("ISOVOX_HOME", str(home))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    order = significance.almost_stochastic_order  # of 1000 bootstraps takes seconds
    monkeypatch.setattr(significance, "almost_stochastic_order", lambda a, b, **_: order(a, b, seed=0, bootstraps=20))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    for n in range(SCANS):
        image, _ = brain((32, 32, 32), seed=n)
        path = folder / f"sub-{n:02}" / "anat" / f"sub-{n:02}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return folder


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def checkpoint(folder: Path, bias: float) -> tuple[Path, Path]:
    """A network that adds nothing but ``bias`` to its input, and the map of its keys."""
    state = {name: torch.zeros_like(tensor) for name, tensor in build("UNet", UNET).state_dict().items()}
    last = [name for name in state if name.endswith("bias")][-1]
    state[last] = torch.full_like(state[last], bias)
    folder.mkdir()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, folder / "net.ckpt")
    said = {
        "network": "UNet",
        "config": UNET,
        "residual": True,
        "multiple": 4,
        "state": "state_dict",
        "prefixes": {"module.": ""},
    }
    (folder / "map.yaml").write_text(yaml.safe_dump(said))
    return folder / "net.ckpt", folder / "map.yaml"


def add(folder: Path, name: str, bias: float) -> int:
    path, key_map = checkpoint(folder, bias)
    return isovox("models", "import", path, name, "--map", key_map)


def test_a_model_from_its_checkpoint_to_champion_and_back(cohort, tmp_path, capsys, home):
    assert isovox("models", "list") == 0
    assert "no models in sqlite" in capsys.readouterr().out
    assert add(tmp_path / "a", "tiny", bias=0.5) == 0
    assert "models:/tiny/1 champion sha256" in capsys.readouterr().out
    assert add(tmp_path / "b", "tiny", bias=0.0) == 0
    assert "models:/tiny/2 challenger sha256" in capsys.readouterr().out
    words = ("models", "promote", "tiny", "--cohort", cohort, "--factor", 4, "--out", tmp_path / "scores")
    assert isovox(*words) == 0
    told = capsys.readouterr().out
    assert "tiny: version 2 is champion after version 1" in told
    assert "because better by psnr" in told
    assert f"{SCANS} persons" in told
    assert isovox("models", "show", "tiny") == 0
    told = capsys.readouterr().out
    for text in ("models:/tiny/2 champion", "version 2 promoted, before it 1", "gain_psnr: ", "Imported from `net.ckpt`"):
        assert text in told
    assert isovox("models", "export", "tiny", tmp_path / "out") == 0
    assert bundles.read_bundle(str(tmp_path / "out")).residual
    assert isovox("models", "rollback", "tiny") == 0
    assert "tiny: version 1 is champion again" in capsys.readouterr().out
    assert isovox("models", "rollback", "tiny") == 2
    assert "no-former" in capsys.readouterr().err


def test_a_worse_challenger_is_refused_with_reasons_and_exit_code_3(cohort, tmp_path, capsys):
    add(tmp_path / "a", "strict", bias=0.0)
    add(tmp_path / "b", "strict", bias=0.5)
    capsys.readouterr()
    assert isovox("models", "promote", "strict", "--cohort", cohort, "--factor", 4, "--out", tmp_path / "scores") == 3
    told = capsys.readouterr().out
    assert "strict: version 2 stays challenger, version 1 champion" in told
    assert "because not significantly better by psnr" in told
    assert isovox("models", "list", "strict") == 0
    told = capsys.readouterr().out
    assert [line.split()[:3] for line in told.splitlines()[1:]] == [["strict", "2", "challenger"], ["strict", "1", "champion"]]


@pytest.mark.slow
def test_the_champion_restores_and_every_sidecar_names_it(cohort, tmp_path, capsys):
    add(tmp_path / "a", "named", bias=0.0)
    words = ("run", cohort, tmp_path / "out", "--method", "network", "--model", "models:/named@champion")
    assert isovox(*words, "--participant-label", "00", "--voxel-size", 1.6, "--workers", 1, "--quiet") == 0
    (sidecar,) = [path for path in (tmp_path / "out").rglob("*_T1w.json") if "Isovox" in path.read_text()]
    said = json.loads(sidecar.read_text())["Isovox"]["Model"]
    assert isovox("models", "export", "named", tmp_path / "model") == 0
    assert said == {"name": "named", "version": "1", "sha256": bundles.read_bundle(str(tmp_path / "model")).digest}


def test_wrong_words_are_told_in_a_line(tmp_path, capsys):
    (tmp_path / "net.pth").write_bytes(b"PK\x03\x04")
    for words, said in {
        ("models", "show", "nobody"): "model-unknown",
        ("models", "promote", "nobody"): "model-unknown",
        ("models", "import", tmp_path / "net.pth", "tiny"): "key-map: expected a model's folder, or a checkpoint with a map",
        ("models", "import", tmp_path, "tiny"): "weights-pickle",
        ("models", "export", "nobody", tmp_path / "out"): "model-unknown",
    }.items():
        assert isovox(*words) in {2, 3}
        assert capsys.readouterr().err.startswith(f"isovox: {said}")
    with pytest.raises(SystemExit, match="2"):
        isovox("models")


def test_a_registry_that_does_not_answer_is_told_in_a_line_without_its_password(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert isovox("models", "list", "--tracking-uri", "http://jane:secret@127.0.0.1:9") == 3
    said = capsys.readouterr().err
    assert said.startswith("isovox: mlflow-fault: expected an MLflow that answers, but got API request to http://127.0.0.1:9/")
    assert "secret" not in said
    assert said.count("\n") == 1
