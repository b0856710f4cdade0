"""Words to cite of a harmonisation: the steps that ran, with the papers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core import __version__
from core.engine.records import ScanRecord
from core.errors import counted
from core.harmonize.features import kinds
from core.harmonize.model import Harmonizer
from core.methods.family import Reference
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize.combat import Adjusted
from tasks.report.citation import Citation, Numbers, cited, ran_on, restored_by

NYUL = Reference(
    "Nyúl and Udupa (1999). On standardizing the MR image intensity scale. Magnetic Resonance in Medicine.",
    "10.1002/(SICI)1522-2594(199912)42:6<1072::AID-MRM11>3.0.CO;2-M",
)
SHAH = Reference(
    "Shah et al. (2011). Evaluating intensity normalization on MRIs of human brain with multiple sclerosis. "
    "Medical Image Analysis.",
    "10.1016/j.media.2010.12.003",
)
REINHOLD = Reference(
    "Reinhold et al. (2019). Evaluating the impact of intensity normalization on MR image synthesis. SPIE Medical Imaging.",
    "10.1117/12.2513089",
)
SHINOHARA = Reference(
    "Shinohara et al. (2014). Statistical normalization techniques for magnetic resonance imaging. NeuroImage: Clinical.",
    "10.1016/j.nicl.2014.08.008",
)
TUSTISON = Reference(
    "Tustison et al. (2010). N4ITK: improved N3 bias correction. IEEE Transactions on Medical Imaging.",
    "10.1109/TMI.2010.2046908",
)
JOHNSON = Reference(
    "Johnson et al. (2007). Adjusting batch effects in microarray expression data using empirical Bayes methods. Biostatistics.",
    "10.1093/biostatistics/kxj037",
)
FORTIN = Reference(
    "Fortin et al. (2018). Harmonization of cortical thickness measurements across scanners and sites. NeuroImage.",
    "10.1016/j.neuroimage.2017.11.024",
)
INTENSITY: dict[str, tuple[str, tuple[Reference, ...]]] = {
    "nyul": ("the cohort's mean deciles (Nyúl)", (NYUL, SHAH)),
    "z-score": ("the z-score of the brain", (REINHOLD,)),
    "white-stripe": ("the stripe around white matter", (SHINOHARA, REINHOLD)),
    "fcm": ("the mean of white matter by fuzzy c-means", (REINHOLD,)),
    "kde": ("the mode of white matter by a kernel density", (REINHOLD,)),
    "tissues": ("the means of fluid, grey and white matter", ()),
}
STEPS: dict[str, tuple[str, tuple[Reference, ...]]] = {
    "bias_field": ("what N4 finds of a bias field beyond the reference's was taken away", (TUSTISON,)),
    "resolution": ("all were brought to the sharpness of the least sharp site", ()),
    "curve": ("each site's contrast within tissues was brought onto the reference's by one rising curve", ()),
    "noise_level": ("noise was added up to that of the noisiest site at each frequency", ()),
    "brain_only": ("what lies beyond a rough brain mask was set to 0", ()),
}


def _intensities(harmonizer: Harmonizer, settings: HarmonizeSettings, numbers: Numbers) -> str:
    if harmonizer.normaliser is None:
        return "Intensities were left as they are."
    title, papers = INTENSITY[harmonizer.normaliser.method]
    fitted = f"the scans of {settings.reference_site}" if settings.reference_site else "the scans of all sites"
    if settings.model is not None:
        fitted = f"{sum(harmonizer.sites.values())} scans of before"
    return f"Intensities were brought on one scale by {title}{numbers.of(papers)}, fitted on {fitted}."


def _steps(harmonizer: Harmonizer, numbers: Numbers) -> str:
    taken = [f"{words}{numbers.of(papers)}" for words, papers in map(STEPS.__getitem__, harmonizer.volumes.steps.wanted())]
    return f"Volumes were made alike: {'; '.join(taken)}." if taken else ""


def _features(harmonizer: Harmonizer, adjusted: Adjusted, numbers: Numbers) -> str:
    """What was fitted, not what was asked for: of few ages there is no spline, and a given model has options of its own."""
    combat = adjusted.combat or harmonizer.combat
    if adjusted.adjusted is None or combat is None:
        return ""
    kept = " and ".join(term["name"] for term in combat["terms"])
    how = [f"the effects of {kept} preserved" if kept else "no covariate preserved"]
    how += ["the sites' effects drawn together by empirical Bayes" if combat.get("bayes", True) else "each feature alone"]
    how += [f"the others brought to {combat['reference']}"] if combat["reference"] else []
    how += ["effects on the spread preserved too"] if combat.get("spreads") is not None else []
    how += [f"{term['name']} as a cubic spline" for term in combat["terms"] if term.get("knots")]
    how += ["an intercept for each person"] if combat.get("ratio") is not None else []
    count = f"{counted(len(adjusted.changed), 'feature')} ({kinds(adjusted.changed)})"
    return f"What is the sites' was taken out of {count} by ComBat{numbers.of((JOHNSON, FORTIN))}: {', '.join(how)}."


def _maps(harmonizer: Harmonizer, numbers: Numbers) -> str:
    if harmonizer.maps is None:
        return ""
    brought = f"The harmonised scans were brought to one space (voxels of {harmonizer.maps['voxel']:g} mm) by affine registration"
    if harmonizer.maps["combat"] is None:
        return f"{brought}."
    return f"{brought}, and what is the sites' was taken out of each voxel by ComBat{numbers.of((JOHNSON, FORTIN))}."


def _left_out(states: Mapping[str, int]) -> str:
    parts = [f"{counted(states['failed'], 'scan')} could not be restored or measured"] if states.get("failed") else []
    parts += [f"{counted(states['skipped'], 'scan')} were rejected by rating and left out"] if states.get("skipped") else []
    return f"{'; '.join(parts)}." if parts else ""


def words(
    settings: HarmonizeSettings,
    harmonizer: Harmonizer,
    restored: Sequence[ScanRecord],
    adjusted: Adjusted,
    states: Mapping[str, int],
    versions: Mapping[str, str],
) -> Citation:
    """What to say of a harmonisation.

    Args:
        settings: of it.
        harmonizer: that scans were mapped by, fitted or given.
        restored: records of the scans that were restored.
        adjusted: what came of the features.
        states: how many scans ended in each state.
        versions: of what the numbers depend on, by name.
    """
    numbers, sites = Numbers(), counted(len(set(adjusted.after.site)), "site")
    to = f"isotropic voxels ({settings.voxel_size:g} mm)"
    sentences = (
        f"MRI of {sites} was restored to {to} and harmonised with isovox {__version__} [1].",
        restored_by(restored, numbers),
        _steps(harmonizer, numbers),
        _intensities(harmonizer, settings, numbers),
        _features(harmonizer, adjusted, numbers),
        _maps(harmonizer, numbers),
        _left_out(states),
        f"Random numbers began at seed {settings.seed}; the harmoniser's SHA-256 begins with {harmonizer.sha256[:12]}.",
        ran_on(versions),
    )
    return cited(sentences, numbers)
