"""Words to cite: a paragraph of methods, ready to paste, with the papers behind what was used; here that of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core import __version__
from core.engine.plan import FINER, CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import counted
from core.methods import registry
from core.methods.family import Reference

ITSELF = f"isovox, version {__version__}: restores cohorts of clinical brain MRI to isotropic volumes. Software, Apache-2.0."
HEAD = """# Words to cite

The paragraph and its references may be pasted as they stand; they say what this run did, and nothing else. Check them against
what you report. They are in the public domain (CC0).

"""


@dataclass(frozen=True)
class Citation:
    """What to say of a run.

    Attributes:
        paragraph: sentences with the numbers of the references in square brackets.
        references: in the order of their numbers, the first is isovox.
    """

    paragraph: str
    references: tuple[str, ...]

    def markdown(self) -> str:
        """The text of CITATION.md."""
        lines = "".join(f"{number}. {text}\n" for number, text in enumerate(self.references, 1))
        return f"{HEAD}{self.paragraph}\n\n## References\n\n{lines}"


class Numbers:
    """Numbers of references, in the order in which they are asked for; the first is isovox itself."""

    def __init__(self) -> None:
        self.texts = [ITSELF]

    def of(self, references: Sequence[Reference]) -> str:
        """The references' numbers in brackets; "" of none."""
        texts = [f"{reference.text} doi:{reference.doi}" for reference in references]
        self.texts += [text for text in texts if text not in self.texts]
        return f" [{', '.join(str(self.texts.index(text) + 1) for text in texts)}]" if texts else ""


def _model(record: ScanRecord) -> str:
    model = record.provenance.get("Model")
    if not isinstance(model, dict):
        return ""
    name = f"{model['name']}, version {model['version']}, " if model.get("name") else ""
    return f", with the model {name}SHA-256 {str(model.get('sha256', ''))[:12]}"


def titled(name: str, numbers: Numbers) -> str:
    """A method's name, with what it is and the numbers of its papers."""
    entry = registry.methods().get(name)
    return f"{name} ({entry.title}{numbers.of(registry.references_of(name))})" if entry else name


def restored_by(records: Sequence[ScanRecord], numbers: Numbers) -> str:
    """By which methods and models scans were restored, in a sentence."""
    counts = Counter(record.method for record in records)
    models = {name: sorted({_model(record) for record in records if record.method == name}) for name in counts}
    most_first = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{count} by {titled(name, numbers)}{' and'.join(models[name])}" for name, count in most_first]
    return f"{counted(len(records), 'scan')} {'was' if len(records) == 1 else 'were'} restored: {'; '.join(parts)}."


def _choice(plan: CohortPlan) -> str:
    if plan.settings.method not in registry.pickers():
        return ""
    return (
        "The method of each scan was chosen by isovox as the one that did best on such scans in evaluations on persons held out."
    )


def _voxels(plan: CohortPlan) -> str:
    size = plan.settings.voxel_size
    kept = "the smallest edge that each scan has" if size == "auto" else f"{size:g} mm"
    return f"to isotropic voxels ({kept}) with isovox {__version__} [1]."


def _coarser(plan: CohortPlan, records: Sequence[ScanRecord]) -> str:
    """How many of the restored scans lost resolution."""
    made = {record.key for record in records}
    lost = sum(is_coarser(scan) for scan in plan.scans if scan.key in made)
    return f"Of these, {counted(lost, 'scan')} had smaller voxels and became coarser." if lost else ""


def is_coarser(scan: ScanPlan) -> bool:
    """Whether a scan's restored voxels are larger than its smallest measured edge."""
    return min(scan.source_grid.spacing) < FINER * min(scan.target_grid.spacing)


def _fused(plan: CohortPlan) -> str:
    together = [len(group) for group in plan.groups() if len(group) > 1]
    if not together:
        return ""
    return f"{counted(len(together), 'person')} had scans that were restored together, {sum(together)} in all."


def _evened(records: Sequence[ScanRecord]) -> str:
    evened = sum("banding_removed" in record.quality for record in records)
    if not evened:
        return ""
    return f"Every second slice of {counted(evened, 'scan')} was brighter or darker than those beside it, and was evened first."


def _checked(plan: CohortPlan, records: Sequence[ScanRecord], unfinished: int) -> str:
    flagged = sum(record.state == "flagged" for record in records)
    failed = plan.planned - len(records) - unfinished
    rest = [f"{counted(failed, 'scan')} could not be restored"] if failed else []
    rest += [f"{counted(unfinished, 'scan')} {'waits' if unfinished == 1 else 'wait'} to be restored"] if unfinished else []
    if not records:
        return f"{'; '.join(rest)}." if rest else ""
    ends = "; ".join([f"{flagged} of them {'was' if flagged == 1 else 'were'} flagged by these checks", *rest])
    return (
        "Each restored volume was seen again through the model of its acquisition and held against the scan as measured "
        f"(consistency, local differences, shift, gain, volume and seams); {ends}."
    )


def ran_on(versions: Mapping[str, str]) -> str:
    """What stood beneath isovox, in a sentence."""
    return f"isovox ran on {', '.join(f'{name} {version}' for name, version in versions.items() if name != 'isovox')}."


def cited(sentences: Iterable[str], numbers: Numbers) -> Citation:
    """The sentences that say something, in one paragraph, with the references that they number."""
    return Citation(" ".join(sentence for sentence in sentences if sentence), tuple(numbers.texts))


def citation(plan: CohortPlan, records: Sequence[ScanRecord], versions: Mapping[str, str], unfinished: int = 0) -> Citation:
    """What to say of a run.

    Args:
        plan: of the run.
        records: of its scans, whatever became of them.
        versions: of what the numbers depend on, by name.
        unfinished: how many scans no run has come to yet.
    """
    made, numbers = [record for record in records if record.outputs], Numbers()
    added = plan.settings.repair and any(record.provenance.get("Repaired", True) for record in made)
    repaired = "What a measured scan says and its restoration leaves was added to it smoothly." if added else ""
    sentences = (
        f"Thick-slice MRI was {'' if made else 'to be '}restored {_voxels(plan)}",
        restored_by(made, numbers) if made else "No scan was restored.",
        _coarser(plan, made),
        _choice(plan),
        _fused(plan),
        _evened(made),
        repaired,
        _checked(plan, made, unfinished),
        f"Random numbers began at seed {plan.settings.seed}; the plan's SHA-256 begins with {plan.digest[:12]}.",
        ran_on(versions),
    )
    return cited(sentences, numbers)
