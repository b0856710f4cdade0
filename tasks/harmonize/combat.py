"""Features made comparable, as far as the guards of ComBat let them be; what was left out and why; and the report of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import FeaturesError
from core.harmonize.features import of_volumes
from core.harmonize.model import Harmonizer
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.design import FEWEST, lacking
from core.harmonize.tables.sites import by_combat, site_accuracy
from core.harmonize.tables.table import Features
from core.io import files
from core.io.output import Output
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize import tables
from tasks.harmonize.fits import fitted_on, preserved
from tasks.harmonize.tables import Member
from tasks.report.citation import Citation


@dataclass(frozen=True)
class Adjusted:
    """What came of the features.

    Attributes:
        before: of the restored scans.
        after: of the harmonised scans.
        adjusted: of those that ComBat could take, without what is the sites'; None where it took none.
        combat: by which, as fitted here or before, JSON; None where it took none.
        given: whether it was fitted before.
        figures: of the cohort, by name.
        notes: what was left out, and why.
        flags: scans whose harmonised features are to be taken with care, and why.
    """

    before: Features
    after: Features
    adjusted: Features | None = None
    combat: dict[str, Any] | None = None
    given: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def volumes(self) -> Features:
        """Of the harmonised scans that ComBat took, as they were measured; of all where it took none."""
        return self.after if self.adjusted is None else _same_scans(self.after, self.adjusted)

    @property
    def changed(self) -> list[str]:
        """The features that ComBat changed: without those that are in its table as they were."""
        if self.adjusted is None or self.combat is None:
            return []
        return [name for name in self.adjusted.names if name not in self.combat.get("feature_flags", {})]

    def lines(self) -> list[str]:
        """For a terminal."""
        return [f"{name}: {value:.3g}" for name, value in self.figures.items()] + [f"note: {note}" for note in self.notes]


def _same_scans(features: Features, wanted: Features) -> Features:
    """The scans and features of another table."""
    scans = set(wanted.scans)
    return features.select([row for row, scan in enumerate(features.scans) if scan in scans]).only(wanted.names)


def adjust(settings: HarmonizeSettings, members: Sequence[Member], given: Harmonizer | None) -> Adjusted:
    """The tables before and after, and the features by ComBat: fitted here, or as the given harmoniser has it."""
    unadjusted = Adjusted(tables.before(members), tables.after(members))
    if not members:
        return unadjusted
    try:
        if not settings.combat:
            made = unadjusted
        elif given is not None and given.combat is not None:
            made = _applied(Combat.from_json(given.combat), unadjusted)
        else:
            made = _fitted(unadjusted, settings)
    except FeaturesError as error:
        made = replace(unadjusted, notes=(f"features are as they were: {error}",))
    return replace(made, figures=_accuracies(made, settings))


def _accuracies(adjusted: Adjusted, settings: HarmonizeSettings) -> dict[str, float]:
    """How well the site of a scan is told from its features, at each stage, ComBat fitted before or without those scans.

    All stages are of the same scans, those of the page: without the scans of a site that a given ComBat does not know.
    """
    stages: dict[str, tuple[Features, Any]] = {
        "site_accuracy_restored": (_same_scans(adjusted.before, adjusted.volumes), None),
        "site_accuracy_intensity": (adjusted.volumes, None),
    }
    if adjusted.adjusted is not None:
        held_out = adjusted.volumes, by_combat(settings.preserve, **settings.combat_options)
        stages["site_accuracy_combat"] = (adjusted.adjusted, None) if adjusted.given else held_out
    figures: dict[str, float] = {}
    for name, (features, fit) in stages.items():
        with suppress(FeaturesError):  # one site, or too few persons of each
            accuracy = site_accuracy(of_volumes(features), fit, permutations=1, seed=settings.seed)
            figures |= {name: accuracy.balanced, "site_accuracy_chance": accuracy.chance}
    return figures


def _fitted(before: Adjusted, settings: HarmonizeSettings) -> Adjusted:
    """By a ComBat that is fitted on these very scans."""
    preserve, combat = preserved(settings, before.after), fitted_on(settings, before.after)
    adjusted = combat.apply(before.after, missing="mean")
    unknown = lacking(before.after, preserve)
    notes = [_lacking(before.after, unknown)] if unknown else []
    notes += [f"{name} is known of no scan, so its effect is not preserved" for name in settings.preserve if name not in preserve]
    if settings.smooth_age:
        notes += [f"{name} is preserved as a straight line: a spline takes {FEWEST} values" for name in _straight(combat)]
    return _told(replace(before, adjusted=adjusted, combat=combat.to_json(), notes=tuple(notes)), combat)


def _straight(combat: Combat) -> list[str]:
    """Numbers whose effects are kept as a straight line."""
    return [term.name for term in combat.terms if term.levels is None and term.knots is None]


def _applied(combat: Combat, before: Adjusted) -> Adjusted:
    """New scans by a ComBat of before; those of a site that it has not seen are left out of the harmonised table."""
    known = before.after.rows(combat.sites)
    new = sorted(set(before.after.site) - set(combat.sites))
    adjusted = combat.apply(before.after.select(known), missing="mean")
    notes = [f"not in the fit, so left out of features_harmonized.tsv: {', '.join(new)}"] if new else []
    made = replace(before, adjusted=adjusted, combat=combat.to_json(), given=True) if known else before
    return _told(replace(made, notes=tuple(notes)), combat)


def _told(adjusted: Adjusted, combat: Combat) -> Adjusted:
    """With what ComBat says of sites, features, covariates and scans."""
    notes = [f"site {site}: {why}" for site, why in combat.site_flags.items() if site in adjusted.after.site]
    notes += [f"{name} stays as it was: {why}" for name, why in combat.feature_flags.items()]
    notes += [f"{name}: {why}" for name, why in combat.notes.items()]
    return replace(adjusted, notes=(*adjusted.notes, *notes), flags=combat.flags(adjusted.after))


def _lacking(features: Features, unknown: Mapping[str, str]) -> str:
    sites = Counter(site for scan, site in zip(features.scans, features.site, strict=True) if scan in unknown)
    shares = ", ".join(f"{count} of {site}" for site, count in sorted(sites.items()))
    return f"{' or '.join(sorted(set(unknown.values())))} unknown, the cohort's mean taken: {shares}"


def write_tables(out: str, adjusted: Adjusted) -> None:
    """features_restored.tsv, features.tsv, and features_harmonized.tsv where there are such; with their dictionaries."""
    named = {"features_restored": adjusted.before, "features": adjusted.after, "features_harmonized": adjusted.adjusted}
    for name, table in named.items():
        if table is None:
            for ending in ("tsv", "json"):
                files.remove(files.join(out, f"{name}.{ending}"))
            continue
        table.to_tsv(files.join(out, f"{name}.tsv"))
        tables.write_dictionary(files.join(out, f"{name}.json"))


def report(
    settings: HarmonizeSettings,
    members: Sequence[Member],
    adjusted: Adjusted,
    flags: Mapping[str, str],
    citation: Citation | None = None,
) -> None:
    """Write the tables, the words to cite and the page.

    The page's "before" and "after" are of the same scans: those that ComBat took, or all where it took none. Without any scan
    there is no page, nor that of an earlier call.
    """
    from tasks.report.harmonize import PAGE, ByCombat, write_page

    write_tables(settings.out, adjusted)
    if citation is not None:
        files.write_atomic(Output(settings.out).citation, citation.markdown().encode())
    if not members:
        files.remove(files.join(settings.out, PAGE))
        return
    before = _same_scans(adjusted.before, adjusted.volumes)
    after = adjusted.volumes if adjusted.adjusted is None else adjusted.adjusted
    about: dict[str, Any] = {"notes": adjusted.notes, "citation": citation, "seed": settings.seed}
    about["scaled"] = settings.intensity != "none"
    if adjusted.combat is not None:
        kept_effects = [term["name"] for term in adjusted.combat["terms"]]
        fit = None if adjusted.given else by_combat(settings.preserve, **settings.combat_options)
        intercept = adjusted.combat.get("ratio") is not None
        way = ByCombat(kept_effects, fit, given=adjusted.given, intercept=intercept, changed=adjusted.changed)
        about |= {"between": adjusted.volumes, "combat": way}
    histograms = tables.histograms_before(members), tables.histograms_after(members)
    write_page(settings.out, before, after, *histograms, _reasons(flags, adjusted.flags), **about)


def _reasons(flags: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Why scans are flagged, by all that flagged them."""
    scans = dict.fromkeys([*flags, *more])
    return {scan: "; ".join(why for why in (flags.get(scan), more.get(scan)) if why) for scan in scans}
