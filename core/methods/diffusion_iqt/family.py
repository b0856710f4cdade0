"""DiffusionIQT: a diffusion model that the interpolated scan conditions."""

from core.methods.family import Family, MethodEntry, NetworkEntry, RecipeEntry, Reference, Takes

SIZES = ("paper", "small", "tiny")

IQT = Reference(
    "Kim et al. (2023). A 3D conditional diffusion model for image quality transfer: an application to low-field "
    "MRI. arXiv:2311.06631.",
    "10.48550/arXiv.2311.06631",
)

FAMILY = Family(
    name="diffusion_iqt",
    title="Image quality transfer",
    methods=(
        MethodEntry(
            "diffusion-iqt",
            "core.methods.diffusion_iqt.method:DiffusionIQT",
            "a diffusion model that is shown the interpolated scan, sampled block by block",
            "Kim et al. 2023 (DiffusionIQT), algorithms 1 and 2",
            Takes(model=True),
            recipe="diffusion-iqt",
            quick={"steps": 2},
        ),
    ),
    recipes=(
        RecipeEntry(
            "diffusion-iqt",
            "core.methods.diffusion_iqt.recipe:FULL",
            "diffusion-iqt",
            "with the deep feature module and cross-batch",
            SIZES,
        ),
        RecipeEntry(
            "diffusion-iqt-deep", "core.methods.diffusion_iqt.recipe:DEEP", "diffusion-iqt", "without cross-batch", SIZES
        ),
        RecipeEntry(
            "diffusion-iqt-base",
            "core.methods.diffusion_iqt.recipe:BASE",
            "diffusion-iqt",
            "without cross-batch and without the deep feature module",
            SIZES,
        ),
    ),
    networks=(NetworkEntry("DiffusionIQT", "core.methods.diffusion_iqt.network", method="diffusion-iqt"),),
    mock="core.methods.diffusion_iqt.mock:write",
    references={
        "diffusion-iqt": (IQT,),
    },
)
