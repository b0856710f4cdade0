"""T2w, FLAIR and PDw drawn from sharp T1w brains, for evaluations where nobody held out has a sharp scan of these contrasts.

``python -m tests.benchmarks.drawn_contrasts SHARP OUT --crops CROPS`` writes the BIDS dataset OUT: of each T1w scan of CROPS, a
part of the same person's scan in SHARP, one image a contrast. Tissues are told by the whole scan's intensities, and a curve leads
their brightness to that of spin echo with inversion (Haacke et al. 1999, chapter 8), straight between fluid, grey and white
matter, as what voxels share of two is. Times of echo, repetition and inversion and the tissues' own (about those at 3 T,
Wansapura et al. 1999) are drawn within a tenth, a bias field as in training.

Edges of fluid and white matter pass through the brightness of grey matter, which in real scans they do not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from core.geometry.grid import Array
from core.io.readers import load_at
from core.tissues import CSF, GM, WM, Tissues
from core.training.data.contrasts import bias_field, brightest, look_of

TISSUES = {CSF: (1.0, 4200.0, 2000.0), GM: (0.82, 1331.0, 110.0), WM: (0.70, 832.0, 80.0)}  # density, T1 and T2 in ms
SEQUENCES = {"T2w": (5000.0, 100.0, 0.0), "FLAIR": (9000.0, 110.0, 2500.0), "PDw": (3000.0, 15.0, 0.0)}  # TR, TE, TI in ms
WITHIN = 0.1


def means(contrast: str, draw: np.random.Generator) -> list[float]:
    """Brightness of fluid, grey and white matter, the brightest 1."""
    repetition, echo, inversion = np.array(SEQUENCES[contrast]) * draw.uniform(1 - WITHIN, 1 + WITHIN, 3)
    signals = []
    for density, *times in (TISSUES[tissue] for tissue in (CSF, GM, WM)):
        t1, t2 = np.array(times) * draw.uniform(1 - WITHIN, 1 + WITHIN, 2)
        turned = 2 * np.exp(-inversion / t1) if inversion else 2 * np.exp(-repetition / t1)
        signals.append(density * abs(1 - turned + np.exp(-repetition / t1)) * np.exp(-echo / t2))
    return [signal / max(signals) for signal in signals]


def drawn(part: Array, tissues: Tissues, contrast: str, draw: np.random.Generator) -> Array:
    """The image (x, y, z) in another contrast; 0 stays 0, beyond white matter the slope from grey to white goes on."""
    fluid, grey, white = tissues.means
    made = means(contrast, draw)
    beyond = made[WM] + (made[WM] - made[GM]) / (white - grey) * white
    curve = np.interp(part, [0, fluid / 2, fluid, grey, white, 2 * white], [0, made[CSF], *made, beyond])
    return np.asarray(np.maximum(curve, 0) * bias_field(part.shape, draw), np.float32)


def main() -> None:
    """Write the dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sharp", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--crops", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    description = {"Name": "Drawn contrasts", "BIDSVersion": "1.8.0"}
    (asked.out / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    for number, crop in enumerate(sorted(asked.crops.glob("sub-*/anat/*_T1w.nii.gz"))):
        whole, _, _ = load_at(str(asked.sharp / crop.relative_to(asked.crops)))
        part, grid, _ = load_at(str(crop))
        upper = brightest(whole)
        look = look_of(whole, upper)
        if look.tissues is None:
            raise SystemExit(f"{crop}: three tissues are wanted, the scan's intensities tell fewer")
        for place, contrast in enumerate(SEQUENCES):
            draw = np.random.default_rng([number, place])
            image = drawn(part / np.float32(upper), look.tissues, contrast, draw)
            path = asked.out / crop.relative_to(asked.crops).with_name(crop.name.replace("_T1w", f"_{contrast}"))
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(image, grid.affine), path)


if __name__ == "__main__":
    main()
