"""Restoration by a score model of sharp slices."""

from core.methods.family import Family, ForeignEntry, MethodEntry, NetworkEntry, ProtocolEntry, RecipeEntry, Reference, Takes

TAKES = Takes(mask="optional", model=True)
MODEL = "score-slices"  # name of the champion of all four
HERE = "core.methods.srmri"
FEW = {"scales": 3}

SIZES = ("paper", "small", "tiny")
FINER_SIZES = (*SIZES, "paper-x4", "small-x4")


def _finer(name: str, where: str, title: str, source: str) -> MethodEntry:
    """A network that was trained on pairs."""
    return MethodEntry(name, f"{HERE}.supervised.method:{where}", title, source, Takes(model=True), recipe=name)


def _trained(name: str, where: str, title: str) -> RecipeEntry:
    return RecipeEntry(name, f"{HERE}.supervised.recipes:{where}", name, title, FINER_SIZES)


SCORE_SDE = Reference(
    "Song et al. (2021). Score-based generative modeling through stochastic differential equations. ICLR; arXiv:2011.13456.",
    "10.48550/arXiv.2011.13456",
)
DIFFPIR = Reference(
    "Zhu et al. (2023). Denoising diffusion models for plug-and-play image restoration. CVPR Workshops; arXiv:2305.08995.",
    "10.48550/arXiv.2305.08995",
)
DDS = Reference(
    "Chung et al. (2023). Decomposed diffusion sampler for accelerating large-scale inverse problems. arXiv:2303.05754.",
    "10.48550/arXiv.2303.05754",
)
TPDM = Reference(
    "Lee et al. (2023). Improving 3D imaging with pre-trained perpendicular 2D diffusion models. ICCV; arXiv:2303.08440.",
    "10.48550/arXiv.2303.08440",
)
DPS = Reference(
    "Chung et al. (2023). Diffusion posterior sampling for general noisy inverse problems. ICLR; arXiv:2209.14687.",
    "10.48550/arXiv.2209.14687",
)
MCG = Reference(
    "Chung et al. (2022). Improving diffusion models for inverse problems using manifold constraints. NeurIPS; arXiv:2206.00941.",
    "10.48550/arXiv.2206.00941",
)
KERNELGAN = Reference(
    "Bell-Kligler et al. (2019). Blind super-resolution kernel estimation using an internal-GAN. NeurIPS; arXiv:1909.06581.",
    "10.48550/arXiv.1909.06581",
)
ZSSR = Reference(
    'Shocher et al. (2018). "Zero-shot" super-resolution using deep internal learning. CVPR.',
    "10.1109/CVPR.2018.00329",
)
SRCNN = Reference(
    "Dong et al. (2014). Learning a deep convolutional network for image super-resolution. ECCV.",
    "10.1007/978-3-319-10593-2_13",
)
DBPN = Reference(
    "Haris et al. (2018). Deep back-projection networks for super-resolution. CVPR.",
    "10.1109/CVPR.2018.00179",
)
CARN = Reference(
    "Ahn et al. (2018). Fast, accurate, and lightweight super-resolution with cascading residual network. ECCV.",
    "10.1007/978-3-030-01249-6_16",
)
SWINIR = Reference(
    "Liang et al. (2021). SwinIR: image restoration using Swin transformer. ICCV Workshops.",
    "10.1109/ICCVW54120.2021.00210",
)
RCAN = Reference(
    "Zhang et al. (2018). Image super-resolution using very deep residual channel attention networks. ECCV.",
    "10.1007/978-3-030-01234-2_18",
)
ESRGAN = Reference(
    "Wang et al. (2018). ESRGAN: enhanced super-resolution generative adversarial networks. ECCV Workshops.",
    "10.1007/978-3-030-11021-5_5",
)

FAMILY = Family(
    name="srmri",
    title="Score model of slices",
    methods=(
        MethodEntry(
            "srmri",
            f"{HERE}.method:Srmri",
            "few noise levels of a score model with an exact data step; or posterior sampling in turn with wavelet fusion",
            "SRMRI, algorithm 1; Zhu et al. 2023 (DiffPIR), Chung et al. 2023 (DDS), Lee et al. 2023 (TPDM)",
            Takes(scans="several", mask="optional", model=True),
            recipe=MODEL,
            model=MODEL,
            quick={"levels": 3},
        ),
        MethodEntry(
            "score-sde",
            f"{HERE}.method:ScoreSde",
            "predictor and corrector, the scan put in place after each",
            "Song et al. 2021 (Score-SDE)",
            TAKES,
            model=MODEL,
            quick=FEW,
        ),
        MethodEntry(
            "dps",
            f"{HERE}.method:Dps",
            "predictor and corrector with gradients of the scan's likelihood",
            "Chung et al. 2023 (DPS)",
            TAKES,
            model=MODEL,
            quick=FEW,
        ),
        MethodEntry(
            "mcg",
            f"{HERE}.method:Mcg",
            "as dps, with the scan put in place after each gradient",
            "Chung et al. 2022 (MCG)",
            TAKES,
            model=MODEL,
            quick=FEW,
        ),
        MethodEntry(
            "kernelgan-zssr",
            f"{HERE}.zero_shot.method:KernelGanZssr",
            "learns from the scan alone: the kernel that reduced its slices, then a network that undoes it",
            "Bell-Kligler et al. 2019 (KernelGAN), Shocher et al. 2018 (ZSSR)",
            quick={"kernel_steps": 2, "steps": 2},
        ),
        _finer("srcnn", "Srcnn", "three convolutions on the interpolated slice", "Dong et al. 2014 (SRCNN)"),
        _finer("d-dbpn", "Ddbpn", "up- and down-projections whose errors are fed back", "Haris et al. 2018 (D-DBPN)"),
        _finer("carn", "Carn", "cascades of residual blocks", "Ahn et al. 2018 (CARN)"),
        _finer("swinir", "Swinir", "attention within shifted windows", "Liang et al. 2021 (SwinIR)"),
        _finer("rcan", "Rcan", "residual blocks with channel attention", "Zhang et al. 2018 (RCAN)"),
        _finer("esrgan-2d", "Esrgan", "residual-in-residual dense blocks on slices", "Wang et al. 2018 (ESRGAN)"),
    ),
    recipes=(
        RecipeEntry(
            MODEL,
            f"{HERE}.recipe:SCORE_MODEL",
            "srmri",
            "denoising score matching on sharp slices alone",
            SIZES,
        ),
        _trained("srcnn", "SRCNN", "squared error of slices"),
        _trained("d-dbpn", "DDBPN", "absolute error of slices"),
        _trained("carn", "CARN", "absolute error of slices"),
        _trained("swinir", "SWINIR", "absolute error of slices"),
        _trained("rcan", "RCAN", "absolute error of slices"),
        _trained("esrgan-2d", "ESRGAN", "absolute error of slices, then with a relativistic discriminator"),
    ),
    protocols=(
        ProtocolEntry(
            "srmri", f"{HERE}.protocol:TABLES", "slices reduced within their plane by five kernels, SRMRI, tables 1 to 3"
        ),
    ),
    networks=(
        NetworkEntry("NCSNpp", f"{HERE}.score_network", method="srmri", restores=False),
        NetworkEntry("SRCNN", f"{HERE}.supervised.networks", method="srcnn"),
        NetworkEntry("DDBPN", f"{HERE}.supervised.networks", method="d-dbpn"),
        NetworkEntry("CARN", f"{HERE}.supervised.networks", method="carn"),
        NetworkEntry("SwinIR", f"{HERE}.supervised.swin", method="swinir"),
        NetworkEntry("RCAN", f"{HERE}.supervised.networks", method="rcan"),
        NetworkEntry("RRDBNet", f"{HERE}.supervised.networks", method="esrgan-2d"),
    ),
    foreign=(
        ForeignEntry("score-sde-ncsnpp", f"{HERE}.foreign:read", "a checkpoint of score_sde_pytorch's NCSN++ (Song et al. 2021)"),
    ),
    mock=f"{HERE}.mock:write",
    references={
        "srmri": (
            SCORE_SDE,
            DIFFPIR,
            DDS,
            TPDM,
        ),
        "score-sde": (SCORE_SDE,),
        "dps": (DPS,),
        "mcg": (MCG,),
        "kernelgan-zssr": (
            KERNELGAN,
            ZSSR,
        ),
        "srcnn": (SRCNN,),
        "d-dbpn": (DBPN,),
        "carn": (CARN,),
        "swinir": (SWINIR,),
        "rcan": (RCAN,),
        "esrgan-2d": (ESRGAN,),
    },
)
