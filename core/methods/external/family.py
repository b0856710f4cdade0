"""Programs of others."""

from core.methods.family import Family, MethodEntry, Reference

HERE = "core.methods.external.method"
QUICK = {"program": "copy"}

ECLARE = Reference(
    "Remedios et al. (2025). ECLARE: efficient cross-planar learning for anisotropic resolution enhancement. arXiv:2503.11787.",
    "10.48550/arXiv.2503.11787",
)
SYNTHSR = Reference(
    "Iglesias et al. (2023). SynthSR: a public AI tool to turn heterogeneous clinical brain scans into high-"
    "resolution T1-weighted images for 3D morphometry. Science Advances 9(5).",
    "10.1126/sciadv.add3607",
)
BRAIN_FM = Reference(
    "Liu et al. (2025). A modality-agnostic multi-task foundation model for human brain imaging. arXiv:2509.00549.",
    "10.48550/arXiv.2509.00549",
)
BME_X = Reference(
    "Sun et al. (2025). A foundation model for enhancing magnetic resonance images and downstream segmentation, "
    "registration and diagnostic tasks. Nature Biomedical Engineering 9.",
    "10.1038/s41551-024-01283-7",
)

FAMILY = Family(
    name="external",
    title="Programs of others",
    methods=(
        MethodEntry(
            "external",
            f"{HERE}:External",
            "any program that takes a NIfTI and writes one, by a YAML file that says how it is called",
            "the program's own",
            quick=QUICK,
        ),
        MethodEntry(
            "eclare",
            f"{HERE}:EclareProgram",
            "ECLARE: a network that learns from the scan alone, once it is installed",
            "Remedios et al. 2025",
            quick=QUICK,
        ),
        MethodEntry(
            "synthsr",
            f"{HERE}:SynthSrProgram",
            "SynthSR of FreeSurfer: a T1w of 1 mm made from a scan of any contrast, once it is installed",
            "Iglesias et al. 2023",
            quick=QUICK,
        ),
        MethodEntry(
            "supersynth",
            f"{HERE}:SuperSynthProgram",
            "SuperSynth of FreeSurfer: a T1w of 1 mm made from a scan of any contrast, once it is installed",
            "Liu et al. 2025 (BrainFM)",
            quick=QUICK,
        ),
        MethodEntry(
            "bme-x",
            f"{HERE}:BmeXProgram",
            "BME-X: enhances the interpolated T1w of a person of 2 years or more, once its image is pulled",
            "Sun et al. 2025",
            quick=QUICK,
        ),
    ),
    references={
        "external": (),
        "eclare": (ECLARE,),
        "synthsr": (SYNTHSR,),
        "supersynth": (BRAIN_FM,),
        "bme-x": (BME_X,),
    },
)
