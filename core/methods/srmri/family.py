"""Restoration by a score model of sharp slices."""

from core.methods.family import Family, MethodEntry, NetworkEntry, RecipeEntry, Takes

TAKES = Takes(mask="optional", model=True)
MODEL = "score-slices"  # name of the champion of all four
HERE = "core.methods.srmri"
FEW = {"scales": 3}

FAMILY = Family(
    name="srmri",
    title="Score model of slices",
    methods=(
        MethodEntry(
            "srmri",
            f"{HERE}.method:Srmri",
            "few noise levels of a score model with an exact data step; or posterior sampling in turn with wavelet fusion",
            "SRMRI, algorithm 1; Zhu et al. 2023 (DiffPIR), Chung et al. 2024 (DDS), Lee et al. 2023 (TPDM)",
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
    ),
    recipes=(
        RecipeEntry(
            MODEL,
            f"{HERE}.recipe:SCORE_MODEL",
            "srmri",
            "denoising score matching on sharp slices alone",
            ("paper", "small", "tiny"),
        ),
    ),
    networks=(NetworkEntry("NCSNpp", f"{HERE}.score_network", method="srmri", restores=False),),
    mock=f"{HERE}.mock:write",
)
