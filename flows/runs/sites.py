"""The sites of a harmonisation: how the scans of each are restored, the plans of that, and the harmoniser that is given."""

from __future__ import annotations

from typing import Any

from core.engine.plan import CohortPlan
from core.errors import UsageError, naming
from core.harmonize import model
from core.harmonize.voxelwise import Maps
from core.io import files
from core.io.names import IMAGES
from core.settings.harmonize import HarmonizeSettings
from core.settings.run import RunSettings
from core.settings.scans import Selection
from flows.runs.home import home, tracking_uri
from flows.runs.planning import plan_run
from flows.weights import choose_weights
from tasks.harmonize.asked import check_apart, check_contrast, check_reference, check_scans_apart, of_persons
from tasks.harmonize.given import check_options
from tasks.harmonize.sites import Site, is_table, sites_of, write_table
from tasks.registry.resolve import check_name

BY_CONTRAST = ("--suffix", "--contrast")  # the option of a run, and that by which this command says the same


def sites_for(settings: HarmonizeSettings) -> list[Site]:
    """The sites that the settings name, with the persons that are asked for.

    Raises:
        UsageError: as ``sites_of``, ``of_persons``, ``check_contrast``, ``check_apart`` and, where something is fitted,
            ``check_reference``; model-name.
    """
    if settings.name:
        check_name(settings.name)
    sites = of_persons(sites_of(settings.sites), settings.participant_label)
    check_contrast(sites, settings.contrast)
    check_apart(sites)
    if settings.model is None:
        check_reference(sites, settings.reference_site)
    return sites


def run_settings(site: Site, settings: HarmonizeSettings) -> RunSettings:
    """How the scans of a site are restored."""
    out = files.join(settings.out, site.name)
    table = files.join(settings.out, "isovox", "sites", f"{site.name}.tsv")
    if site.rows:
        write_table(table, site.rows)
    return RunSettings(
        input=table if site.rows else site.input,
        out=out,
        method=settings.method,
        method_options=settings.method_options,
        model=settings.weights,
        outside_domain=settings.outside_domain,
        voxel_size=settings.voxel_size,
        trust=settings.trust,
        selection=Selection(participant_label=site.participants, suffix=_suffixes(site, settings)),
        slices=settings.slices,
        tiling=settings.tiling,
        compute=settings.compute,
        quality=settings.quality,
        seed=settings.seed,
    )


def _suffixes(site: Site, settings: HarmonizeSettings) -> tuple[str, ...]:
    """The contrast's; a table or a single file names its scans itself."""
    named = bool(site.rows) or is_table(site.input) or bool(IMAGES.search(site.input))
    return () if named else (settings.contrast,)


def given_harmonizer(settings: HarmonizeSettings) -> model.Harmonizer | None:
    """The harmoniser that the settings name.

    Raises:
        UsageError: it is not there, was fitted on scans restored otherwise, by other options, or without the wanted maps.
        WeightsError: other bytes than were registered.
    """
    if settings.model is None:
        return None
    harmonizer = model.read(_folder(settings.model, settings))
    harmonizer.check_same(**{name: getattr(settings, name) for name in model.GEOMETRY})
    check_options(settings, harmonizer)
    if settings.maps and harmonizer.maps is None:
        remedy = "leave out --maps, or fit again with it"
        raise UsageError("harmonizer-no-maps", "a model that was fitted with --maps", f"{settings.model} without", remedy)
    return harmonizer


def restoration_of(settings: HarmonizeSettings, site: Site) -> dict[str, Any]:
    """How scans are restored, beside the geometry, as a harmoniser keeps it.

    Raises:
        UsageError, WeightsError: as ``choose_weights``.
    """
    weights = choose_weights(run_settings(site, settings)).weights
    said = settings.model_dump(mode="json", include=set(model.RESTORATION))
    return said | {"weights": None if weights is None else weights.sha256}


def given_maps(settings: HarmonizeSettings, given: model.Harmonizer | None) -> Maps | None:
    """The maps of the harmoniser that the settings name; None where none is given, or it has none.

    Raises:
        WeightsError: other bytes than its own.
    """
    return None if settings.model is None or given is None else model.read_maps(_folder(settings.model, settings), given)


def _folder(name: str, settings: HarmonizeSettings) -> str:
    """The folder of a model, which ``model.read`` checks where no registry names it."""
    from tasks.registry.resolve import resolve

    if not name.startswith("models:"):
        return name
    return resolve(name, tracking_uri(settings.tracking_uri), home() / "models").folder


def plans_of(settings: HarmonizeSettings) -> list[CohortPlan]:
    """The plan of each site's restoration, a bar a site; what else the settings name is looked at first.

    Raises:
        UsageError, PlanError, WeightsError: what is wrong with the sites, the harmoniser or a plan.
    """
    sites, given = sites_for(settings), given_harmonizer(settings)
    if given is not None:
        given.check_same(**restoration_of(settings, sites[0]))
    runs = {site.name: run_settings(site, settings) for site in sites}
    with naming(*BY_CONTRAST):
        plans = {name: plan_run(run, choose_weights(run), f"looking at scans of {name}") for name, run in runs.items()}
    check_scans_apart(plans)
    return list(plans.values())
