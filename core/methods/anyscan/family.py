"""Any scan: one network for all contrasts and thick slices."""

from core.methods.family import Family, MethodEntry, NetworkEntry, RecipeEntry, Takes

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
)
