"""Restoration by a model of the scan and a prior, without training."""

from core.methods.family import Family, MethodEntry, Reference, Takes

BRUDFORS_2018 = Reference(
    "Brudfors et al. (2018). MRI super-resolution using multi-channel total variation. Medical Image Understanding and Analysis.",
    "10.1007/978-3-319-95921-4_21",
)
BRUDFORS_2019 = Reference(
    "Brudfors et al. (2019). A tool for super-resolving multimodal clinical MRI. arXiv:1909.01140.",
    "10.48550/arXiv.1909.01140",
)

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
    references={
        "unires": (
            BRUDFORS_2018,
            BRUDFORS_2019,
        ),
    },
)
