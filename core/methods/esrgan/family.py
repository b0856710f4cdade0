"""ESRGAN in three dimensions."""

from core.methods.family import Family, MethodEntry, NetworkEntry, RecipeEntry, Reference, Takes

ESRGAN = Reference(
    "Wang et al. (2018). ESRGAN: enhanced super-resolution generative adversarial networks. ECCV Workshops.",
    "10.1007/978-3-030-11021-5_5",
)
IQT = Reference(
    "Kim et al. (2023). A 3D conditional diffusion model for image quality transfer: an application to low-field "
    "MRI. arXiv:2311.06631.",
    "10.48550/arXiv.2311.06631",
)

FAMILY = Family(
    name="esrgan",
    title="Adversarial network",
    methods=(
        MethodEntry(
            "esrgan-3d",
            "core.methods.esrgan.method:ESRGAN3D",
            "ESRGAN's generator in three dimensions, which adds to the interpolated scan what it lacks",
            "Wang et al. 2018, equations 1 and 2, as a baseline of Kim et al. 2023 (DiffusionIQT)",
            Takes(model=True),
            recipe="esrgan-3d",
        ),
    ),
    recipes=(
        RecipeEntry(
            "esrgan-3d",
            "core.methods.esrgan.recipe:ESRGAN",
            "esrgan-3d",
            "least absolute error, then with a relativistic discriminator",
            ("paper", "small", "tiny"),
        ),
        RecipeEntry(
            "esrgan-3d-ratio",
            "core.methods.esrgan.recipe:RATIO",
            "esrgan-3d",
            "the same with the adversarial part weighed as published, 5e-3 beside 1e-2",
            ("paper", "small", "tiny"),
        ),
    ),
    networks=(
        NetworkEntry("ESRGAN", "core.methods.esrgan.network"),
        NetworkEntry("ESRGANDiscriminator", "core.methods.esrgan.network", restores=False),
    ),
    mock="core.methods.esrgan.mock:write",
    references={
        "esrgan-3d": (
            ESRGAN,
            IQT,
        ),
    },
)
