"""Zoom along any axis by a latent diffusion model of slices, and the systems that it is held against."""

from core.methods.family import Family, ForeignEntry, MethodEntry, NetworkEntry, ProtocolEntry, RecipeEntry, Reference, Takes

HERE = "core.methods.latent_zoom"
TAKES = Takes(model=True)
FEW = {"steps": 2}
SIZES = ("paper", "small", "tiny")

LDM = Reference(
    "Rombach et al. (2022). High-resolution image synthesis with latent diffusion models. CVPR.",
    "10.1109/CVPR52688.2022.01042",
)
SANDER = Reference(
    "Sander et al. (2022). Autoencoding low-resolution MRI for semantically smooth interpolation of anisotropic "
    "MRI. Medical Image Analysis 78.",
    "10.1016/j.media.2022.102393",
)
SRGAN = Reference(
    "Ledig et al. (2017). Photo-realistic single image super-resolution using a generative adversarial network. CVPR.",
    "10.1109/CVPR.2017.19",
)
WDSR = Reference(
    "Yu et al. (2018). Wide activation for efficient and accurate image super-resolution. arXiv:1808.08718.",
    "10.48550/arXiv.1808.08718",
)

FAMILY = Family(
    name="latent_zoom",
    title="Latent zoom",
    methods=(
        MethodEntry(
            "latent-zoom",
            f"{HERE}.method:LatentZoom",
            "slices by latent diffusion, those between them by interpolation of their codes",
            "latent diffusion with latent slice interpolation, after Rombach et al. 2022",
            TAKES,
            recipe="latent-zoom",
            quick=FEW,
        ),
        MethodEntry(
            "pixel-zoom",
            f"{HERE}.method:PixelZoom",
            "slices by latent diffusion, those between them by interpolation of the slices",
            "the same, its baseline: equation 12 with weights that sum to 1",
            TAKES,
            model="latent-zoom",
            quick=FEW,
        ),
        MethodEntry(
            "bicubic-ae",
            f"{HERE}.method:BicubicAutoencoder",
            "slices by cubic interpolation, those between them by interpolation of an autoencoder's codes",
            "Sander et al. 2022",
            TAKES,
            recipe="bicubic-ae",
        ),
        MethodEntry(
            "srgan-si",
            f"{HERE}.method:SrganZoom",
            "slices by SRGAN, those between them by interpolation",
            "Ledig et al. 2017",
            TAKES,
            recipe="srgan-si",
        ),
        MethodEntry(
            "wdsr-si",
            f"{HERE}.method:WdsrZoom",
            "slices by WDSR-B, those between them by interpolation",
            "Yu et al. 2018",
            TAKES,
            recipe="wdsr-si",
        ),
    ),
    recipes=(
        RecipeEntry(
            "latent-zoom",
            f"{HERE}.recipe:LATENT_ZOOM",
            "latent-zoom",
            "an autoencoder of slices, a diffusion model of its codes, EDSR on what they make, a regression, codes between two",
            SIZES,
        ),
        RecipeEntry("bicubic-ae", f"{HERE}.recipe:BICUBIC_AE", "bicubic-ae", "codes whose middles are slices too", SIZES),
        RecipeEntry("srgan-si", f"{HERE}.recipe:SRGAN_SI", "srgan-si", "squared errors, then with a discriminator", SIZES),
        RecipeEntry("wdsr-si", f"{HERE}.recipe:WDSR_SI", "wdsr-si", "absolute errors", SIZES),
    ),
    networks=(
        NetworkEntry("VQModel", "diffusers.models.autoencoders.vq_model", method="latent-zoom", restores=False),
        NetworkEntry("UNet2DModel", "diffusers.models.unets.unet_2d", method="latent-zoom", restores=False),
        NetworkEntry("EDSR", f"{HERE}.networks", method="latent-zoom", restores=False),
        NetworkEntry("CodesBetween", f"{HERE}.networks", method="latent-zoom", restores=False),
        NetworkEntry("SliceAutoencoder", f"{HERE}.networks", method="bicubic-ae", restores=False),
        NetworkEntry("SRGAN", f"{HERE}.networks", method="srgan-si", restores=False),
        NetworkEntry("SRGANDiscriminator", f"{HERE}.networks", method="srgan-si", restores=False),
        NetworkEntry("PatchDiscriminator", f"{HERE}.networks", method="latent-zoom", restores=False),
        NetworkEntry("WDSR", f"{HERE}.networks", method="wdsr-si", restores=False),
    ),
    protocols=(
        ProtocolEntry(
            "latent-zoom", f"{HERE}.protocol:PROTOCOL", "4 times coarser in plane, and all but every 2nd to 11th slice left out"
        ),
    ),
    foreign=(
        ForeignEntry(
            "ldm-sr",
            f"{HERE}.foreign:read",
            "latent diffusion that makes pictures 4 times finer (Rombach et al. 2022), of CompVis or diffusers",
            f"{HERE}.foreign:fetch",
        ),
    ),
    mock=f"{HERE}.mock:write",
    references={
        "latent-zoom": (LDM,),
        "pixel-zoom": (LDM,),
        "bicubic-ae": (SANDER,),
        "srgan-si": (SRGAN,),
        "wdsr-si": (WDSR,),
    },
)
