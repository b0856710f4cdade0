"""The scan as its own teacher."""

from core.methods.family import Family, MethodEntry, Reference, Takes

SMORE = Reference(
    "Zhao et al. (2021). SMORE: a self-supervised anti-aliasing and super-resolution algorithm for MRI using deep "
    "learning. IEEE Transactions on Medical Imaging 40(3).",
    "10.1109/TMI.2020.3037187",
)
ECLARE = Reference(
    "Remedios et al. (2025). ECLARE: efficient cross-planar learning for anisotropic resolution enhancement. arXiv:2503.11787.",
    "10.48550/arXiv.2503.11787",
)

FAMILY = Family(
    name="self_sr",
    title="The scan as its own teacher",
    methods=(
        MethodEntry(
            "self-sr",
            "core.methods.self_sr.method:SelfSR",
            "a network that learns from the scan's sharp in-plane detail how to sharpen across the slices",
            "after Zhao et al. 2021 (SMORE) and Remedios et al. 2025 (ECLARE)",
            Takes(model=True),
            quick={"steps": 3},
            model="anyscan",
            without_model={"start": "none"},
        ),
    ),
    mock="core.methods.anyscan.mock:write",
    references={
        "self-sr": (
            SMORE,
            ECLARE,
        ),
    },
)
