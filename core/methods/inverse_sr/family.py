"""Restoration by searching a brain prior for the scan."""

from core.methods.family import Family, ForeignEntry, MethodEntry, NetworkEntry, ProtocolEntry, RecipeEntry, Reference, Takes

TAKES = Takes(scans="several", mask="optional", model=True, covariates=("age", "sex"))
SOURCE = "Wang et al. 2023 (InverseSR)"
PRIOR = "brain-ldm"  # name of the champion of all five
HERE = "core.methods.inverse_sr"
FEW = {"steps": 3, "register_scan": False}

INVERSE_SR = Reference(
    "Wang et al. (2023). InverseSR: 3D brain MRI super-resolution using a latent diffusion model. MICCAI; arXiv:2308.12465.",
    "10.48550/arXiv.2308.12465",
)
RED_DIFF = Reference(
    "Mardani et al. (2023). A variational perspective on solving inverse problems with diffusion models. arXiv:2305.04391.",
    "10.48550/arXiv.2305.04391",
)
DDS = Reference(
    "Chung et al. (2023). Decomposed diffusion sampler for accelerating large-scale inverse problems. arXiv:2303.05754.",
    "10.48550/arXiv.2303.05754",
)
RESAMPLE = Reference(
    "Song et al. (2023). Solving inverse problems with latent diffusion models via hard data consistency. arXiv:2307.08123.",
    "10.48550/arXiv.2307.08123",
)

FAMILY = Family(
    name="inverse_sr",
    title="Inversion of a brain prior",
    methods=(
        MethodEntry(
            "inverse-sr",
            f"{HERE}.method:InverseAuto",
            "searches a brain prior for the scan: its decoder where one voxel in five was measured, else its noise",
            SOURCE,
            TAKES,
            recipe="brain-ldm",
            model=PRIOR,
            quick=FEW | {"last": 2},
        ),
        MethodEntry(
            "inverse-sr-decoder",
            f"{HERE}.method:InverseDecoder",
            "searches the code of the decoder",
            f"{SOURCE}, eq. 4",
            TAKES,
            model=PRIOR,
            quick=FEW,
        ),
        MethodEntry(
            "inverse-sr-ldm",
            f"{HERE}.method:InverseLdm",
            "searches the noise from which a deterministic chain leads to the code",
            f"{SOURCE}, eq. 3",
            TAKES,
            model=PRIOR,
            quick=FEW | {"last": 2},
        ),
        MethodEntry(
            "inverse-sr-red",
            f"{HERE}.search.red:InverseRed",
            "refines another method's result in the decoder, with a one-step diffusion prior",
            "Mardani et al. 2023 (RED-diff)",
            TAKES,
            model=PRIOR,
            quick=FEW | {"start": ""},
        ),
        MethodEntry(
            "inverse-sr-cg",
            f"{HERE}.search.cg:InverseCg",
            "at 10 to 20 noise levels pulls the decoded estimate onto the scan",
            "Chung et al. 2023 (DDS), Song et al. 2023 (ReSample)",
            TAKES,
            model=PRIOR,
            quick={"levels": 3, "register_scan": False},
        ),
    ),
    recipes=(
        RecipeEntry(
            "brain-ldm",
            f"{HERE}.recipe:BRAIN_LDM",
            "inverse-sr",
            "an autoencoder of brains, then a diffusion model of its codes",
            ("paper", "small", "tiny"),
        ),
    ),
    protocols=(
        ProtocolEntry(
            "inverse-sr-table1",
            f"{HERE}.protocol:TABLE",
            "dropped and averaged axial slices, factor 4 (--factor 8), Wang et al. 2023, table 1",
        ),
    ),
    networks=(
        NetworkEntry("AutoencoderKL", "monai.networks.nets", method="inverse-sr", restores=False),
        NetworkEntry("DiffusionModelUNet", "monai.networks.nets", method="inverse-sr", restores=False),
        NetworkEntry("ShuffleAutoencoder", f"{HERE}.networks", method="inverse-sr", restores=False),
    ),
    foreign=(
        ForeignEntry(
            "brain-ldm",
            f"{HERE}.foreign:read",
            "autoencoder and diffusion model of Pinaya et al. 2022, of MONAI, MONAI Generative or InverseSR's authors",
            f"{HERE}.foreign:fetch",
        ),
    ),
    mock=f"{HERE}.mock:write",
    references={
        "inverse-sr": (INVERSE_SR,),
        "inverse-sr-decoder": (INVERSE_SR,),
        "inverse-sr-ldm": (INVERSE_SR,),
        "inverse-sr-red": (
            INVERSE_SR,
            RED_DIFF,
        ),
        "inverse-sr-cg": (
            INVERSE_SR,
            DDS,
            RESAMPLE,
        ),
    },
)
