"""The flow behind ``isovox harmonize``: restore each site, fit or take a harmoniser, apply it, tabulate, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from core.engine.plan import CohortPlan
from core.engine.records import ScanRecord
from core.errors import UsageError, naming
from core.harmonize import model
from core.harmonize.images.fit import Look, fit_again, fit_first, fit_last, wants_look
from core.harmonize.images.intensity import CAUTIONS, Normaliser
from core.harmonize.tables.table import person_of
from core.io import claim, files
from core.io.lock import cohort_lock
from core.io.output import Output
from core.io.ratings import Rating, by_site, read_ratings
from core.settings.harmonize import HarmonizeSettings, VolumeSteps
from flows.reprocess import reprocess_cohort
from flows.runs.address import tell_addresses
from flows.runs.ending import with_failed
from flows.runs.group import with_group
from flows.runs.home import home, tracking_uri
from flows.runs.names import flow_run_name
from flows.runs.progress import bars, note, waiting
from flows.runs.sites import BY_CONTRAST, given_harmonizer, given_maps, restoration_of, run_settings, sites_for
from infra.clusters import open_cluster
from infra.dispatch import run_bounded
from tasks.harmonize import tables, work
from tasks.harmonize.asked import check_scans_apart
from tasks.harmonize.combat import Adjusted, adjust, report
from tasks.harmonize.former import take_away
from tasks.harmonize.maps import Mapped, write_maps
from tasks.harmonize.sites import Site, inputs_of
from tasks.harmonize.tables import Member
from tasks.harmonize.words import words
from tasks.harmonize.work import Piece
from tasks.pipeline.export import versions
from tasks.pipeline.results import verified_records

DOING = {
    "measure": "measuring",
    "look": "looking at scans",
    "harmonize": "harmonising",
    "place": "registering",
}  # what a bar says of a stage
Refused = tuple[Piece, ScanRecord]  # a scan that was not restored, and why


# -- restore ----------------------------------------------------------------------------------------------------------------


def _restore(site: Site, settings: HarmonizeSettings) -> tuple[list[Member], list[Refused]]:
    """Restore a site's scans; those that came through, and those that did not."""
    how = run_settings(site, settings)
    out = Output(how.out)
    state = reprocess_cohort.with_options(name=f"restore-{site.name}")(how, return_state=True)
    if state.is_crashed() or (state.is_failed() and not files.exists(out.ending)):
        error = state.result(raise_on_failure=False)
        with naming(*BY_CONTRAST):
            raise error if isinstance(error, Exception) else RuntimeError(state.message)
    plan = _plan(site, settings)
    members: list[Member] = []
    refused: list[Refused] = []
    for record in verified_records(out, plan):
        piece = _piece(site.name, record.key, settings)
        if record.state == "failed":
            refused.append((piece, record))
        else:
            scan = plan.scan(record.key)
            members.append(Member(piece, record, site.person(scan.uris[0], scan.participant, *scan.uris[1:])))
    return members, refused


def _plan(site: Site, settings: HarmonizeSettings) -> CohortPlan:
    return CohortPlan.model_validate(files.read_json(_piece(site.name, "", settings).restored.plan))


def _without_rejected(
    sites: Sequence[Site], members: Sequence[Member], said: Sequence[Rating]
) -> tuple[list[Member], list[Refused]]:
    """The scans that people did not reject, and those that they did.

    Raises:
        UsageError: as ``by_site``.
    """
    names = {site.name: [files.name_of(site.input.rstrip("/"))] for site in sites}
    keys = {site.name: [member.piece.key for member in members if member.piece.site == site.name] for site in sites}
    placed = by_site(said, names, keys)
    kept: list[Member] = []
    rejected: list[Refused] = []
    for member in members:
        rating = placed.get(member.piece.site, {}).get(member.piece.key)
        if rating is None or rating.rating != "reject":
            kept.append(member)
        else:
            reason = f"rejected by rating{': ' + rating.remark if rating.remark else ''}; left out"
            rejected.append((member.piece, member.record.model_copy(update={"state": "skipped", "reason": reason})))
    return kept, rejected


def _piece(site: str, key: str, settings: HarmonizeSettings) -> Piece:
    return Piece(settings.out, site, key, settings.contrast, settings.intensity, settings.field_of_view, steps=settings.steps)


# -- fit --------------------------------------------------------------------------------------------------------------------


def _with_method_of(settings: HarmonizeSettings, given: model.Harmonizer | None) -> HarmonizeSettings:
    """The settings with the given harmoniser's method for intensities, and its maps."""
    if given is None:
        return settings
    method = "none" if given.normaliser is None else given.normaliser.method
    combat, maps = settings.combat and given.combat is not None, given.maps is not None
    return settings.model_copy(update={"steps": VolumeSteps(), "intensity": method, "combat": combat, "maps": maps})


def _check_sites(sites: Sequence[Site], there: Sequence[Member], gone: Sequence[Refused], given: model.Harmonizer | None) -> None:
    """Refuse to fit what cannot make sites comparable.

    Raises:
        UsageError: site-single, site-lost.
    """
    if given is not None:
        return
    remedy = "name each site by NAME=PATH, or in a column site of participants.tsv or of a table"
    if len(sites) < 2:
        raise UsageError("site-single", "two sites or more", f"one, {sites[0].name}", remedy)
    if lost := [site.name for site in sites if site.name not in tables.sizes(there)]:
        why = next((f"; {piece.name}: {record.reason.rstrip('.')}" for piece, record in gone if piece.site in lost), "")
        got = f"none of {', '.join(lost)} that could be restored and measured{why}"
        raise UsageError("site-lost", "scans of each site", got, "mend its scans, or leave the site out")


def _fit(settings: HarmonizeSettings, run: Run, members: Sequence[Member]) -> tuple[model.Harmonizer, list[Member]]:
    """Fit intensities on the reference site's scans, or on all; what else makes volumes alike on all. With the scans left.

    Raises:
        UsageError: reference-empty, site-lost.
    """
    wanted, steps = settings.reference_site, settings.steps
    geometry: dict[str, Any] = {name: getattr(settings, name) for name in model.GEOMETRY}
    measured = {member.piece.name: work.read_measured(member.piece) or {} for member in members}
    looks = {member.piece.name: _first_look(member, measured[member.piece.name]) for member in members}
    readings = {name: said.get("Reading", []) for name, said in measured.items()}
    chosen = _chosen(wanted, members)
    volumes = fit_first(steps, list(looks.values()), wanted, settings.contrast)
    if steps.looked:
        members, looks = run.look(1, model.Harmonizer(volume=volumes.to_json(), **geometry), members)
        readings, chosen = {name: look.reading for name, look in looks.items()}, _chosen(wanted, members)
    fitted = None
    if settings.intensity != "none":
        known = [readings[member.piece.name] for member in chosen]
        seen = [readings[member.piece.name] for member in members if member not in chosen]
        fitted = Normaliser.fit_readings(settings.intensity, known, settings.contrast, seen)
    intensity = None if fitted is None else fitted.to_json()
    volumes = fit_again(volumes, list(looks.values()), fitted, wanted)
    number = 0
    while wants_look(volumes, number):
        at = model.Harmonizer(intensity=intensity, volume=volumes.to_json(), **geometry)
        shown = tables.some_of_each(members, volumes.shown)
        through, looks = run.look(2 + number, at, shown)
        lost = {member.piece.name for member in shown} - {member.piece.name for member in through}
        members = _left([member for member in members if member.piece.name not in lost])
        volumes = fit_last(volumes, list(looks.values()), wanted, number)
        number += 1
    volume = volumes.to_json() if steps.wanted() else None
    return model.Harmonizer(intensity=intensity, sites=tables.sizes(chosen), volume=volume, **geometry), list(members)


def _first_look(member: Member, measured: Mapping[str, Any]) -> Look:
    return Look(member.piece.site, **measured.get("Look", {}), person=member.person.name or person_of(member.piece.key))


def _left(members: list[Member]) -> list[Member]:
    """The scans that came through a look.

    Raises:
        UsageError: site-lost.
    """
    if not members:
        remedy = "see their reasons in OUT/harmonized/SITE/isovox/scans, or leave steps out"
        raise UsageError("site-lost", "scans of each site", "none that came through all looks", remedy)
    return members


def _lost(measured: Sequence[Member], left: Sequence[Member]) -> list[str]:
    """What to know of sites all of whose scans failed while they were looked at."""
    gone = sorted(tables.sizes(measured).keys() - tables.sizes(left).keys())
    return [f"{site} is not in the fit: no scan of it came through the looks" for site in gone]


def _chosen(wanted: str | None, members: Sequence[Member]) -> list[Member]:
    """The scans that intensities are fitted on.

    Raises:
        UsageError: reference-empty.
    """
    chosen = [member for member in members if wanted in {None, member.piece.site}]
    if not chosen:
        got = ", ".join(tables.sizes(members)) or "no scan that could be measured"
        raise UsageError("reference-empty", f"scans of {wanted or 'any site'} to fit on", got, "correct --reference-site")
    return chosen


def _intensities_alone(harmonizer: model.Harmonizer) -> model.Harmonizer:
    """What the mapped scans depend on beside the restored ones; ComBat's part and maps come after them."""
    return harmonizer.model_copy(update={"combat": None, "maps": None, "restoration": None})


def _register(settings: HarmonizeSettings, harmonizer: model.Harmonizer, adjusted: Adjusted, arrays: bytes) -> str:
    """Put what was fitted into the registry, with the arrays of maps; its name there."""
    from tasks.registry.models import Models

    name = settings.name or f"harmonize-{settings.intensity}"
    folder = files.join(settings.out, "isovox", "harmonizer")
    about = {key: getattr(harmonizer, key) for key in model.GEOMETRY} | {"intensity": settings.intensity}
    card = tables.card(name, harmonizer.sites, about, adjusted.figures, adjusted.notes, maps=harmonizer.maps is not None)
    model.save(folder, harmonizer, card, arrays)
    version = Models(tracking_uri(settings.tracking_uri), home() / "models").add(folder, name, adjusted.figures)
    return f"{version.uri} ({', '.join(version.aliases) or 'no alias'})"


# -- the stages -------------------------------------------------------------------------------------------------------------


class Run:
    """A harmonisation under way.

    Args:
        settings: of it.
        dispatch: runs a function for each item where the work runs.
    """

    def __init__(self, settings: HarmonizeSettings, dispatch: work.Dispatch) -> None:
        self.settings, self._dispatch = settings, dispatch
        self.refused: list[Refused] = []

    def through(self, name: str, function: Any, members: Sequence[Member]) -> list[Member]:
        """Run a stage for all scans; those that came through. One bad scan never stops the others."""
        failed = self.tried(name, function, members)
        for member in members:
            if (error := failed.get(member.piece.name)) is not None:
                self.refused.append((member.piece, work.note_failed(member.piece, error)))
        return [member for member in members if member.piece.name not in failed]

    def tried(self, name: str, function: Any, members: Sequence[Member]) -> dict[str, BaseException]:
        """Run a stage for all scans; why some failed, by their names."""
        failed: dict[str, BaseException] = task(name=name, cache_policy=NO_CACHE)(self._stage)(
            name, function, [member.piece for member in members]
        )
        return failed

    def _stage(self, name: str, function: Any, pieces: Sequence[Piece]) -> dict[str, BaseException]:
        with bars(DOING[name], {"scans": len(pieces)}, told_at=Output(self.settings.out).course) as tell:
            return work.run(self._dispatch, function, pieces, self.settings.compute.workers, tell)

    def look(self, number: int, at: model.Harmonizer, members: Sequence[Member]) -> tuple[list[Member], dict[str, Look]]:
        """Look at all scans as a model makes them; those that came through, and what was seen by their names."""
        folder = work.look_folder(self.settings.out, number)
        model.save(folder, at, "What makes these scans as they were looked at; see ../harmonizer.\n")
        ready = {member.piece.name: replace(member.piece, model=at.digest, look=number) for member in members}
        looking = [replace(member, piece=ready[member.piece.name]) for member in members]
        through = {member.piece.name for member in self.through("look", work.look, looking)}
        looks = {name: Look(ready[name].site, **(work.read_look(ready[name]) or {})) for name in through}
        kept = [member for member in members if member.piece.name in through]
        return kept, {member.piece.name: looks[member.piece.name] for member in kept}

    def apply(self, harmonizer: model.Harmonizer, members: Sequence[Member]) -> list[Member]:
        """Write all scans on the harmoniser's scale; with the records of what was written."""
        alone = _intensities_alone(harmonizer)
        model.save(work.model_folder(self.settings.out), alone, "What these scans were mapped by; see ../harmonizer.\n")
        ready = [replace(member, piece=replace(member.piece, model=alone.digest)) for member in members]
        for site in tables.sizes(ready):
            work.write_dataset(self.settings.out, site, alone.digest)
        done = self.through("harmonize", work.harmonize, ready)
        for site in tables.sizes(ready):
            work.write_persons(self.settings.out, site)
        return [replace(member, record=_record_of(member)) for member in done]


def _record_of(member: Member) -> ScanRecord:
    record = member.piece.harmonized.read_record(member.piece.key)
    return member.record if record is None else record


def _rows(members: Sequence[Member], refused: Sequence[Refused]) -> list[dict[str, str]]:
    """A line a scan: those that came through, then those that did not."""
    every = [(member.piece, member.record) for member in members] + list(refused)
    rows = [{"site": piece.site, "scan": piece.key, "state": record.state, "reason": record.reason} for piece, record in every]
    return sorted(rows, key=lambda row: (row["site"], row["scan"]))


def _flags(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {f"{row['site']}/{row['scan']}": row["reason"] for row in rows if row["state"] != "done"}


def _tell(
    settings: HarmonizeSettings, rows: list[dict[str, str]], adjusted: Adjusted, registered: str, gone: Sequence[str]
) -> str:
    """The run's artifacts, and what came of it in a line."""
    states = ["done", "flagged", "failed", *(["skipped"] if settings.ratings else [])]
    count = {state: sum(row["state"] == state for row in rows) for state in states}
    parts = [f"planned {len(rows)} = " + " + ".join(f"{n} {state}" for state, n in count.items()), *adjusted.lines()]
    if left := sum(row["state"] == "skipped" for row in rows):
        parts.append(f"left out: {left} {'scan' if left == 1 else 'scans'} rejected in {files.name_of(settings.ratings or '')}")
    if gone:
        parts.append(f"taken away: {len(gone)} {'scan' if len(gone) == 1 else 'scans'} of an earlier call")
    parts += [f"model: {registered}"] if registered else []
    parts += [f"maps: {files.join(settings.out, 'maps')}"] if settings.maps else []
    files.write_json(files.join(settings.out, "isovox", "harmonized.json"), {"Scans": rows, "Said": parts})
    create_table_artifact(rows, key="harmonized", description="every scan, its state and why")
    page = f"**Report:** `{files.join(settings.out, 'report.html')}`"
    create_markdown_artifact("\n\n".join([*parts, page]), key="summary", description="what came of the harmonisation")
    return "\n".join(parts)


@contextmanager
def _opened(settings: HarmonizeSettings) -> Iterator[Run]:
    waiting("starting workers")
    with open_cluster(settings.compute) as pool:
        yield Run(settings, partial(run_bounded, pool))


def _harmonize(settings: HarmonizeSettings, sites: Sequence[Site], given: model.Harmonizer | None) -> tuple[str, bool]:
    """All of it; what came of it, and whether every scan came through."""
    said = [] if settings.ratings is None else read_ratings(settings.ratings)  # what is wrong is told before hours of work
    restored = [_restore(site, settings) for site in sites]
    check_scans_apart({site.name: _plan(site, settings) for site in sites})
    kept, rejected = _without_rejected(sites, [member for members, _ in restored for member in members], said)
    with _opened(settings) as run:
        run.refused += [refusal for _, refused in restored for refusal in refused] + rejected
        measured = run.through("measure", work.measure, kept)
        _check_sites(sites, measured, run.refused, given)
        harmonizer, left = (given, measured) if given else _fit(settings, run, measured)
        done = run.apply(harmonizer, left)
        mapped = (None if given else done) if settings.maps else []
        gone = take_away(settings.out, done, {piece.name for piece, _ in run.refused}, mapped)
        maps = write_maps(settings, run.tried, done, given_maps(settings, given)) if settings.maps else Mapped()
    rows = _rows(done, run.refused)
    waiting("adjusting figures and writing tables and page")
    adjusted = adjust(settings, done, given)
    cautions = [*tables.coarse_heads(done, settings.voxel_size), *filter(None, [CAUTIONS.get(settings.intensity)])]
    left_out = [note for site in sites for note in site.notes] + _lost(measured, left)
    adjusted = replace(adjusted, notes=(*maps.notes, *left_out, *tables.lone_groups(done), *cautions, *adjusted.notes))
    if given is None:
        later = {"combat": adjusted.combat, "maps": maps.about, "restoration": restoration_of(settings, sites[0])}
        harmonizer = harmonizer.model_copy(update=later)
    records, states = [member.record for members, _ in restored for member in members], Counter(row["state"] for row in rows)
    cited = words(settings, harmonizer, records, adjusted, states, versions())
    report(settings, done, adjusted, _flags(rows), cited)
    registered = "" if given else _register(settings, harmonizer, adjusted, maps.arrays)
    for caution in adjusted.notes:
        get_run_logger().warning("%s", caution)
    return _tell(settings, rows, adjusted, registered, gone), not any(row["state"] == "failed" for row in rows)


@flow(
    name="harmonize",
    flow_run_name=flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=8),  # type: ignore[arg-type] # Prefect's is invariant in its futures
    validate_parameters=True,
)
def harmonize_sites(settings: HarmonizeSettings) -> State:
    """Make the scans and the features of several sites comparable; what is done already is skipped.

    Args:
        settings: which sites, how, and where to.

    Returns:
        Completed, or Failed (named Incomplete) where a scan failed; the message says what came of it.

    Raises:
        UsageError: no such site, or a model that was fitted on scans restored otherwise.
        BusyError: another run works on the same output.
    """
    settings = with_group(settings)
    sites, given = sites_for(settings), given_harmonizer(settings)
    if given is not None:
        given.check_same(**restoration_of(settings, sites[0]))
    claim.check(settings.out, inputs_of(settings.sites), "harmonize")
    if len(sites) < 2:  # before anything is restored
        _check_sites(sites, (), (), given)
    with cohort_lock(Output(settings.out).lock):
        claim.begin(settings.out, "harmonize", [files.join(settings.out, site.name) for site in sites])
        tell_addresses(note)
        text, whole = _harmonize(_with_method_of(settings, given), sites, given)
    return Completed(message=text) if whole else with_failed(text, "Incomplete")
