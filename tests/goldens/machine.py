"""How this machine's libraries round: a few plain sums by numpy, scipy and torch, without a line of isovox."""

from __future__ import annotations

import hashlib

import numpy as np


def roundings() -> str:
    """A digest of a matrix product, a cubic spline and a convolution of whole numbers; another build may round them otherwise."""
    import torch
    from scipy import ndimage

    image = ((np.arange(24**3).reshape(24, 24, 24) * 7919) % 251).astype(np.float32) / 3
    product = image.reshape(24, -1) @ image.reshape(-1, 24)
    spline = ndimage.affine_transform(image, [0.7, 0.9, 0.3], order=3)
    kernel = torch.from_numpy(image[:12, :3, :9].reshape(12, 1, 3, 3, 3).copy())
    with torch.inference_mode():
        convolved = torch.nn.functional.conv3d(torch.from_numpy(image)[None, None], kernel).numpy()
    parts = b"".join(np.ascontiguousarray(part).tobytes() for part in (product, spline, convolved))
    return hashlib.sha256(parts).hexdigest()
