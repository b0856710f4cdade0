"""Nearest voxels; those of the mask are the person's age."""

from dataclasses import replace

import numpy as np

from core.methods.interpolation.method import Nearest


class Filling(Nearest):
    name = "filling"

    def restore(self, measured, target):
        return super().restore([self.filled(one) for one in measured], target)

    def filled(self, one):
        if one.mask is None:
            return one
        age = (one.covariates or {}).get("age", 1.0)
        return replace(one, image=np.where(one.mask, np.float32(age), one.image))


class Needing(Filling):
    name = "needing"
