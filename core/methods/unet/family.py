"""U-Nets that add to the interpolated scan what it lacks."""

from core.methods.family import Family, MethodEntry, RecipeEntry, Reference, Takes

SIZES = ("paper", "small", "tiny")

LIN = Reference(
    "Lin et al. (2023). Low-field magnetic resonance image enhancement via stochastic image quality transfer. "
    "Medical Image Analysis 87.",
    "10.1016/j.media.2023.102807",
)
IQT = Reference(
    "Kim et al. (2023). A 3D conditional diffusion model for image quality transfer: an application to low-field "
    "MRI. arXiv:2311.06631.",
    "10.48550/arXiv.2311.06631",
)

FAMILY = Family(
    name="unet",
    title="3D U-Nets",
    methods=(
        MethodEntry(
            "unet-3d",
            "core.methods.unet.method:UNet3D",
            "3D U-Net that adds to the interpolated scan what it lacks",
            "Lin et al. 2023, as a baseline of Kim et al. 2023 (DiffusionIQT)",
            Takes(model=True),
            recipe="unet-3d",
        ),
        MethodEntry(
            "resunet-3d",
            "core.methods.unet.method:ResUNet3D",
            "3D U-Net of residual units that adds to the interpolated scan what it lacks",
            "Lin et al. 2023, as a baseline of Kim et al. 2023 (DiffusionIQT)",
            Takes(model=True),
            recipe="resunet-3d",
        ),
    ),
    recipes=(
        RecipeEntry("unet-3d", "core.methods.unet.recipe:UNET", "unet-3d", "least squares", SIZES),
        RecipeEntry("resunet-3d", "core.methods.unet.recipe:RESUNET", "resunet-3d", "least squares", SIZES),
    ),
    mock="core.methods.unet.mock:write",
    references={
        "unet-3d": (
            LIN,
            IQT,
        ),
        "resunet-3d": (
            LIN,
            IQT,
        ),
    },
)
