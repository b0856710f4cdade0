"""Restoration by a model of the scan and a prior, without training."""

from core.methods.family import Family, MethodEntry, Takes

FAMILY = Family(
    name="unires",
    title="Joint total variation",
    methods=(
        MethodEntry(
            "unires",
            "core.methods.unires.method:UniRes",
            "the image of least joint total variation that explains the measured slices",
            "Brudfors et al. 2018 and 2019, minimised by ADMM",
            Takes(scans="several"),
        ),
    ),
)
