"""Any scan: one network for all contrasts and thick slices."""

from core.methods.family import Family, MethodEntry, NetworkEntry, RecipeEntry, Reference, Takes

EDSR = Reference(
    "Lim et al. (2017). Enhanced deep residual networks for single image super-resolution. CVPR Workshops.",
    "10.1109/CVPRW.2017.151",
)
ESPCN = Reference(
    "Shi et al. (2016). Real-time single image and video super-resolution using an efficient sub-pixel "
    "convolutional neural network. CVPR.",
    "10.1109/CVPR.2016.207",
)
SYNTHSEG = Reference(
    "Billot et al. (2023). SynthSeg: segmentation of brain MRI scans of any contrast and resolution without "
    "retraining. Medical Image Analysis 86.",
    "10.1016/j.media.2023.102789",
)

FAMILY = Family(
    name="anyscan",
    title="Any scan",
    methods=(
        MethodEntry(
            "anyscan",
            "core.methods.anyscan.method:AnyScan",
            "3D residual network that is told of the slices, for any contrast and slices 2 to 8 mm apart",
            "after Lim et al. 2017 (EDSR), Shi et al. 2016 and Billot et al. 2023 (SynthSeg)",
            Takes(model=True),
            recipe="anyscan",
        ),
    ),
    recipes=(
        RecipeEntry(
            "anyscan",
            "core.methods.anyscan.recipe:RECIPE",
            "anyscan",
            "relative squared errors on contrasts and slices drawn for each example",
            ("large", "small", "tiny"),
        ),
    ),
    networks=(NetworkEntry("AnyScanNet", "core.methods.anyscan.network", "anyscan"),),
    mock="core.methods.anyscan.mock:write",
    references={
        "anyscan": (
            EDSR,
            ESPCN,
            SYNTHSEG,
        ),
    },
)
