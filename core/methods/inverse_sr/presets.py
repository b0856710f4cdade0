"""Sizes of the brain prior, as functions that give its parts by role."""

from __future__ import annotations

from core.networks.preset import Preset

MNI = {"kind": "scaled-linear", "steps": 1000, "first": 0.0015, "last": 0.0205}
CONDITIONS = {"sex": [0, 1], "age": [44, 82], "ventricles": [0, 1], "brain": [0, 1]}  # the two volumes' ranges are unpublished
EDGE = (-78.52, -125.48, -60.55)  # mm of the first voxel of the paper's window in RAS, from the saver's affine and the crop


def _parts(
    shape: tuple[int, int, int], size: float, factor: int, autoencoder: dict[str, object], denoiser: dict[str, object]
) -> dict[str, Preset]:
    """The three parts for images of ``shape`` voxels of ``size`` mm, with the paper's window's corner."""
    first = [edge + (size - 1) / 2 for edge in EDGE]
    affine = [[size if row == column else 0.0 for column in range(3)] + [first[row]] for row in range(3)] + [[0.0, 0.0, 0.0, 1.0]]
    latent = int(str(autoencoder["latent"]))
    code = [latent, *(n // factor for n in shape)]
    frame = {"shape": list(shape), "affine": affine, "code": code, "conditions": CONDITIONS}
    noise = {"latent": latent, "conditions": len(CONDITIONS)} | denoiser
    named = {
        "autoencoder": ("BrainAutoencoder", autoencoder),
        "denoiser": ("BrainDenoiser", noise),
        "frame": ("BrainFrame", frame),
    }
    return {role: Preset(name, dict(config), multiple=factor, patch=min(shape)) for role, (name, config) in named.items()}


def paper() -> dict[str, Preset]:
    """13.77 M and 553 M parameters, 160 x 224 x 160 voxels of 1 mm, codes 3 x 20 x 28 x 20."""
    autoencoder = {"channels": [64, 128, 128, 128], "latent": 3}
    return _parts((160, 224, 160), 1.0, 8, autoencoder, {"channels": [256, 512, 768], "attention": [False, True, True]})


def mock() -> dict[str, Preset]:
    """For tests."""
    autoencoder = {"channels": [4, 8, 8], "latent": 3, "blocks": 1, "groups": 4}
    return _parts((16, 24, 16), 10.0, 4, autoencoder, {"channels": [8, 16], "attention": [False, True], "blocks": 1, "groups": 8})
