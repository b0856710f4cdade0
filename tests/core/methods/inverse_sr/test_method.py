"""The methods on a prior whose decoder is a matrix: they find the image that made the scan, in its units, on its grid."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core.engine import restore
from core.errors import UsageError
from core.geometry.grid import Grid
from core.geometry.resample import interpolate
from core.methods import registry
from core.methods.base import Measured
from core.methods.family import Takes
from core.methods.inverse_sr import method as inversion
from core.methods.inverse_sr import mock
from core.methods.inverse_sr.frame import Frame, picked
from core.methods.inverse_sr.method import InverseAuto, InverseDecoder, InverseLdm
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.scans import observed
from core.methods.inverse_sr.search import cg
from core.methods.inverse_sr.search.cg import CgSettings, InverseCg
from core.methods.inverse_sr.search.descent import begin
from core.methods.inverse_sr.search.red import InverseRed, RedSettings
from core.methods.inverse_sr.settings import InversionSettings, LdmSettings
from core.methods.unires.method import UniRes
from core.models.bundle import read_bundle
from core.operators.forward_model import DroppedSlices, KSpace, LesionMask, SliceProfile
from core.stats import scan_stats
from tests.core.methods.inverse_sr.stubs import LinearPrior

PRIOR = LinearPrior(shape=(10, 12, 16), codes=(2, 2, 2, 2), mean=0.5, scale=0.05)
TARGET = PRIOR.window
CODE = torch.randn(1, 2, 2, 2, 2, generator=torch.Generator().manual_seed(5)) * 0.8
TRUTH = 400 * PRIOR.decode(CODE)[0, 0].numpy() + 100
HERE = {"model": "of the test", "register_scan": False}
COMMON = HERE | {"features": "none", "loss": "l2", "settled": 0}


@pytest.fixture(autouse=True)
def _prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prior, "load", lambda _: PRIOR)
    monkeypatch.setattr(cg, "WIDTH", 0.2)  # the images of this prior are not smooth


def scan(forward=None, image=TRUTH, mask=None, axis=2):
    forward = forward or SliceProfile(factor=4)
    made = forward.degrade(np.ascontiguousarray(image, np.float32), TARGET, axis, np.random.default_rng(0))
    return Measured(made.image, made.grid, scan_stats(made.image), forward, noise=(1, 2), mask=mask)


def error(image, truth=TRUTH):
    """Root mean square of the difference, relative to the truth's spread."""
    return float(np.sqrt(np.mean((image - truth) ** 2)) / truth.std())


def methods():
    yield InverseDecoder(InversionSettings(**COMMON, steps=150, rate=0.2))
    yield InverseLdm(LdmSettings(**COMMON, steps=100, rate=0.3, last=46))
    yield InverseRed(RedSettings(**COMMON, steps=150, rate=0.2, start="", prior_share=0))
    yield InverseCg(CgSettings(**HERE, levels=30, inner=60, trust=1e-4, starts=8))


@pytest.mark.parametrize("method", methods(), ids=lambda one: one.name)
def test_the_image_that_made_the_scan_is_found(method):
    """In the scan's units: 400 times the prior's and 100 beside. The levels of CG draw samples: their mean."""
    (image,) = method.restore([scan()], TARGET)
    cubic = interpolate(scan().image, scan().grid, TARGET, 3)
    assert error(image) < (0.2 if method.name.endswith("cg") else 0.03)
    assert error(cubic) > 0.8


@pytest.mark.parametrize("depth", [1, 12])
def test_a_voxel_far_below_the_air_changes_no_other(depth):
    """Else the scan would be shown to the prior squeezed into its topmost greys."""
    grid = Grid((20, 24, 16), np.diag([0.5, 0.5, 1, 1]))
    image = np.abs(np.random.default_rng(0).normal(0, 100, grid.shape)).astype(np.float32)
    faulty = image.copy()
    faulty[0, 0, 0] = -depth * np.percentile(image, 99.9)
    method = InverseDecoder(InversionSettings(**COMMON))
    scans = [Measured(each, grid, scan_stats(each), SliceProfile()) for each in (image, faulty)]
    wanted, shown = (method.prepare([each], TARGET).data.observations[0] for each in scans)
    assert shown.values[0, 0, 0] >= 0
    np.testing.assert_allclose(shown.values.ravel()[1:], wanted.values.ravel()[1:], atol=1e-2)


def test_the_loss_falls_and_is_told():
    method = InverseDecoder(InversionSettings(**COMMON | {"features": "gradients"}, steps=60))
    problem = method.prepare([scan()], TARGET)
    *_, state = method.steps(problem, method.start(problem))
    assert set(state.figures) == {"loss", "difference", "features"}
    assert state.figures["loss"][-1][1] < 0.2 * state.figures["loss"][0][1]


@pytest.mark.parametrize(
    ("forward", "strategy"),
    [
        (DroppedSlices(factor=4), "decoder"),
        (DroppedSlices(factor=8), "ldm"),
        (SliceProfile(factor=8), "ldm"),
        (KSpace(axis="A"), "decoder"),
    ],
    ids=lambda one: getattr(one, "kind", one),
)
def test_it_chooses_by_what_was_measured(forward, strategy):
    method = InverseAuto(LdmSettings(**COMMON))
    made = scan() if isinstance(forward, KSpace) else scan(forward)
    made = replace(made, grid=TARGET, image=TRUTH, forward=forward) if isinstance(forward, KSpace) else made
    assert method.prepare([made], TARGET).strategy == strategy


def test_one_voxel_in_five_is_enough_however_it_rounds():
    """0.7 mm of 0.8594 mm voxels is a fifth but for the last bit."""
    fine = Grid((10, 12, 16), np.diag([0.8594, 0.8594, 0.7, 1]))
    thick = Grid((10, 12, 4), np.diag([0.8594, 0.8594, 3.5, 1]))
    assert observed([Measured(TRUTH[..., ::4], thick, scan_stats(TRUTH), SliceProfile(factor=5))], fine) < 1 / 5
    made = Measured(TRUTH[..., ::4], thick, scan_stats(TRUTH), SliceProfile(factor=5))
    assert InverseAuto(LdmSettings(**COMMON)).prepare([made], fine).strategy == "decoder"


def test_memory_is_counted_for_what_is_searched(monkeypatch):
    """The activations of the decoder fit, those of 46 steps do not."""
    monkeypatch.setattr(inversion, "free_memory", lambda _: 4 * 40)
    assert not InverseAuto(LdmSettings(**COMMON)).prepare([scan()], TARGET).recompute
    assert InverseLdm(LdmSettings(**COMMON)).prepare([scan()], TARGET).recompute


def test_a_search_from_noise_asks_for_no_mean_code():
    class Prior(LinearPrior):
        @property
        def code_statistics(self):
            raise AssertionError("samples were drawn")

    problem = replace(InverseLdm(LdmSettings(**COMMON)).prepare([scan()], TARGET), prior=PRIOR)
    wanted = InverseLdm(LdmSettings(**COMMON)).start(problem)
    lacking = Prior(shape=(10, 12, 16), codes=(2, 2, 2, 2))
    del lacking.mean_code
    got = InverseLdm(LdmSettings(**COMMON)).start(replace(problem, prior=lacking))
    np.testing.assert_array_equal(got.arrays["z"], wanted.arrays["z"])


def test_cg_has_the_settings_that_it_uses_and_tells_its_levels():
    assert not {"steps", "rate", "settled", "loss", "features", "feature_share", "fill"} & set(CgSettings.model_fields)
    about = InverseCg(CgSettings(**HERE, levels=12, starts=3)).about_maps["sd"]
    assert about["Levels"] == 12
    assert "Steps" not in about


def test_what_was_measured_is_counted_in_voxels():
    assert observed([scan(DroppedSlices(factor=4))], TARGET) == pytest.approx(1 / 4)
    assert observed([scan(SliceProfile(factor=8)), scan(SliceProfile(factor=2), axis=1)], TARGET) == pytest.approx(1 / 8 + 1 / 2)
    sharp = Measured(TRUTH, TARGET, scan_stats(TRUTH), SliceProfile(), mask=np.arange(16) < 4 * np.ones(TARGET.shape))
    assert observed([sharp], TARGET) == pytest.approx(3 / 4)
    assert observed([sharp, sharp], TARGET) == 1
    assert observed([replace(sharp, mask=None, forward=KSpace(factor=4, centre=0.2))], TARGET) == pytest.approx(0.4)


def test_measured_slices_are_put_back_to_the_bit_unless_not_wanted():
    noisy = scan(DroppedSlices(factor=4))
    noisy = replace(noisy, image=noisy.image + np.random.default_rng(0).normal(0, 9, noisy.image.shape).astype(np.float32))
    kept, not_kept = (InverseDecoder(InversionSettings(**COMMON, steps=50, keep_measured=keep)) for keep in (True, False))
    (image,), (other,) = kept.restore([noisy], TARGET), not_kept.restore([noisy], TARGET)
    assert image[..., ::4].tobytes() == noisy.image.tobytes()
    np.testing.assert_array_equal(image[..., 1::4], other[..., 1::4])
    assert np.abs(other[..., ::4] - noisy.image).mean() > 1
    problem = kept.prepare([noisy], TARGET)
    *_, state = kept.steps(problem, kept.start(problem))
    (figures,) = kept.beside(problem, state).figures
    assert figures["slice_seam"] > figures["slice_seam_before"]


def test_a_lesion_is_filled_and_what_lies_in_it_does_not_matter():
    mask = np.zeros(TARGET.shape, bool)
    mask[3:7, 4:8, 5:9] = True
    spoiled = np.where(mask, 5000, TRUTH).astype(np.float32)
    stats = scan_stats(np.where(mask, TRUTH.mean(), TRUTH).astype(np.float32))
    method = InverseDecoder(InversionSettings(**COMMON, steps=150, rate=0.2))
    images = [method.restore([Measured(one, TARGET, stats, SliceProfile(), mask=mask)], TARGET)[0] for one in (TRUTH, spoiled)]
    np.testing.assert_array_equal(*images)
    np.testing.assert_array_equal(images[0][~mask], TRUTH[~mask])
    assert error(images[0][mask], TRUTH[mask]) < 0.05


def with_hole(inside, grid=TARGET, truth=TRUTH, at=(slice(3, 7), slice(4, 8), slice(5, 9))):
    """A sharp scan that has that in a hole, with the statistics that the engine takes of all of it."""
    mask = np.zeros(grid.shape, bool)
    mask[at] = True
    image = np.where(mask, inside, truth).astype(np.float32)
    return Measured(image, grid, scan_stats(image), LesionMask(), noise=(1, 2), mask=mask)


@pytest.mark.parametrize("start", ["", "cubic", "unires"])
def test_what_a_mask_covers_has_no_say_in_units_or_in_a_start(start):
    method = InverseRed(RedSettings(**COMMON, steps=2, start=start))
    dark, bright, deep = (method.restore([with_hole(inside)], TARGET)[0] for inside in (200, 5000, -3000))
    np.testing.assert_allclose([bright, deep], [dark, dark], rtol=1e-4)  # the prior of the test rounds from call to call


def test_a_hole_beyond_the_window_is_filled_from_around_it_and_told():
    """Twice as fine, so that what a hole has in it would ring beside it."""
    wide, at = Grid((16, 12, 16), np.eye(4)), (slice(11, 15), slice(4, 8), slice(5, 9))
    scan = with_hole(5000, wide, np.pad(TRUTH, ((0, 6), (0, 0), (0, 0)), mode="edge"), at)
    method = InverseDecoder(InversionSettings(**COMMON, steps=2))
    problem = method.prepare([scan], wide.isotropic(0.5))
    *_, state = method.steps(problem, method.start(problem))
    (image,) = method.result(problem, state)
    assert TRUTH.min() - 100 < image[20:].min() < image[20:].max() < TRUTH.max() + 100
    assert method.beside(problem, state).figures[0]["mask_beyond_prior"] == 1
    inside = method.prepare([with_hole(5000)], TARGET)
    *_, state = method.steps(inside, method.start(inside))
    assert method.beside(inside, state).figures[0]["mask_beyond_prior"] == 0


def test_a_start_that_takes_masks_is_given_one(monkeypatch):
    given = []
    monkeypatch.setattr(restore, "restore_whole", lambda _, scans, __: given.extend(scans) or scans[0].image)
    monkeypatch.setattr(registry, "build_method", lambda *_: SimpleNamespace(name="cubic", fuses=False))
    method = InverseDecoder(InversionSettings(**COMMON, start="cubic"))
    for masks in ("none", "optional"):
        entry = SimpleNamespace(takes=Takes(mask=masks))
        monkeypatch.setattr(registry, "method_entry", lambda _, entry=entry: entry)
        method.start(method.prepare([with_hole(5000)], TARGET))
    plain, masked = given
    assert plain.mask is None
    assert masked.mask is not None
    assert plain.image.max() == masked.image.max() < 1000


def test_the_registration_is_shown_what_is_around_a_hole(monkeypatch):
    seen = []
    monkeypatch.setattr(inversion, "registered", lambda scan, *_: seen.append(scan.image) or Frame(PRIOR.window))
    method = InverseDecoder(InversionSettings(**COMMON | {"register_scan": True}))
    method.prepare([with_hole(5000)], TARGET)
    assert TRUTH.min() <= seen[0].min() < seen[0].max() <= TRUTH.max()


def test_several_scans_are_one_term_each_in_its_own_units():
    first, second = scan(SliceProfile(factor=8)), scan(SliceProfile(factor=6), axis=1, image=0.5 * TRUTH + 7)
    method = InverseDecoder(InversionSettings(**COMMON, steps=150, rate=0.2))
    together = method.restore([first, second], TARGET)
    assert error(together[0]) < 0.03
    assert error(together[1], 0.5 * TRUTH + 7) < 0.03


def test_several_starts_give_a_mean_and_its_deviation():
    noisy = scan(DroppedSlices(factor=4))
    method = InverseLdm(LdmSettings(**COMMON, steps=4, starts=3, last=10))
    problem = method.prepare([noisy], TARGET)
    *_, state = method.steps(problem, method.start(problem))
    assert (state.step, state.finished, method.total()) == (12, True, 12)
    beside = method.beside(problem, state)
    (sd,) = beside.maps["sd"]
    images = []
    for number in range(3):
        one = method.start(problem)
        one.values["start"] = number
        begin(one, method._codes(problem, one))
        one.values["start"] = 0
        for _ in range(4):
            method.step(problem, one)
        images.append(one.arrays["mean 0"])
        one.finished = True
    wanted = np.std(images, axis=0, ddof=1)
    wanted[np.ix_(*picked(noisy, TARGET).places)] = 0
    np.testing.assert_allclose(sd, wanted, rtol=1e-3, atol=1e-3)
    assert sd.max() > 0
    np.testing.assert_allclose(method.result(problem, state)[0][..., 1], np.mean(images, axis=0)[..., 1], rtol=1e-5)


def test_equal_starts_have_no_map():
    method = InverseDecoder(InversionSettings(**COMMON, steps=3))
    problem = method.prepare([scan()], TARGET)
    *_, state = method.steps(problem, method.start(problem))
    assert method.beside(problem, state).maps == {}


def test_another_methods_result_is_refined():
    method = InverseDecoder(InversionSettings(**COMMON, steps=3, start="cubic"))
    problem = method.prepare([scan()], TARGET)
    state = method.start(problem)
    cubic = interpolate(scan().image, scan().grid, TARGET, 3)
    one = problem.data.observations[0]
    wanted = PRIOR.encode(torch.from_numpy((cubic - one.low) / one.span))
    np.testing.assert_allclose(state.arrays["z"], wanted.numpy(), rtol=1e-4, atol=1e-5)
    chained = InverseLdm(LdmSettings(**COMMON, steps=3, start="cubic"))
    problem = chained.prepare([scan()], TARGET)
    state = chained.start(problem)
    np.testing.assert_allclose(state.arrays["z"], 0.9611 * wanted.numpy(), rtol=1e-2, atol=1e-3)


def test_what_the_start_is_made_with_belongs_to_the_digest(monkeypatch, tmp_path):
    method = InverseRed(RedSettings(**COMMON))
    before = method.depends_on
    assert before == {"start": {"method": "unires", "revision": UniRes.revision}}
    monkeypatch.setattr(UniRes, "revision", UniRes.revision + 1)
    assert method.depends_on != before
    registry.resolve(registry.family_of("wdsr-si").mock)(str(tmp_path), "wdsr-si")
    learned = InverseRed(RedSettings(**COMMON, start=f"wdsr-si={tmp_path}"))
    assert learned.depends_on["start"]["weights"] == read_bundle(str(tmp_path)).digest
    assert InverseDecoder(InversionSettings(**COMMON)).depends_on == {}


@pytest.mark.parametrize("start", ["nonsense", "inverse-sr-decoder", "cubic=somewhere"])
def test_a_start_that_is_no_method_is_refused_before_any_scan(start):
    with pytest.raises(UsageError, match=r"unknown-method|model-missing|model-not-used"):
        registry.check_options("inverse-sr-decoder", {"start": start})


def test_a_prior_of_one_step_shrinks_codes_that_the_scan_says_little_of():
    """The best guess of a standard normal code is nearer to 0 than the code."""
    free, held = (InverseRed(RedSettings(**COMMON, steps=80, start="", prior_share=share)) for share in (0.0, 1.0))
    problem = free.prepare([scan(SliceProfile(factor=16))], TARGET)
    sizes = []
    for method in (free, held):
        state = method.start(problem)
        state.arrays["z"] += 2
        for _ in method.steps(problem, state):
            pass
        sizes.append(np.square(state.arrays["z"]).mean())
    assert sizes[1] < sizes[0]


def test_the_last_pull_is_on_the_scans_own_grid():
    """A detail that no code has comes back where it was measured."""
    detail = np.zeros_like(TRUTH)
    detail[4, 5, 8] = 60
    made = scan(DroppedSlices(factor=4), image=TRUTH + detail)
    method = InverseCg(CgSettings(**HERE, levels=4, inner=60, trust=1e-3, keep_measured=False))
    (image,) = method.restore([made], TARGET)
    assert image[4, 5, 8] == pytest.approx(TRUTH[4, 5, 8] + 60, abs=1)


def test_codes_stay_where_the_prior_has_samples():
    """However large an estimate is, no code is taken further than three standard deviations."""
    method = InverseCg(CgSettings(**HERE))
    problem = method.prepare([scan()], TARGET)
    code, *_ = method._level(problem, 50 * method.start(problem).arrays["z"], 639)
    assert np.abs(code).max() == pytest.approx(cg.HELD)


def test_a_prior_of_another_voxel_size_and_place_is_brought_to_the_target():
    target = Grid((20, 24, 32), np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]]))
    (image,) = InverseDecoder(InversionSettings(**COMMON, steps=5)).restore([scan()], target)
    assert image.shape == target.shape
    assert np.isfinite(image).all()


def mock_prior(folder):
    mock.write(str(folder), "")
    return Prior(str(folder), read_bundle(str(folder)))


@pytest.mark.parametrize("kind", [InverseDecoder, InverseLdm, InverseRed, InverseCg], ids=lambda kind: kind.name)
def test_networks_work_in_half_precision_and_codes_stay_float32(kind, tmp_path, monkeypatch):
    prior = mock_prior(tmp_path)
    monkeypatch.setattr(Prior, "load", lambda _: prior)
    monkeypatch.setattr(Prior, "code_statistics", (np.zeros((1, *prior.shape), np.float32),) * 2)
    truth = np.random.default_rng(0).random(prior.window.shape).astype(np.float32)
    few = {"levels": 2} if kind is InverseCg else {"steps": 2}
    few |= {"last": 2} if kind is InverseLdm else {"start": ""}
    made = Measured(truth, prior.window, scan_stats(truth), SliceProfile())
    images = []
    for precision in ("float32", "bfloat16"):
        method = kind(kind.Settings(model="of the test", register_scan=False, precision=precision, keep_measured=False, **few))
        problem = method.prepare([made], prior.window)
        *_, state = method.steps(problem, method.start(problem))
        assert all(array.dtype == np.float32 for array in state.arrays.values())
        images.append(method.result(problem, state)[0])
    assert not np.array_equal(*images)
    assert error(images[1], images[0]) < 0.1


def test_plans_know_steps_starts_and_the_size_of_the_prior(tmp_path, monkeypatch):
    folder, prior = str(tmp_path), mock_prior(tmp_path)
    monkeypatch.setattr(Prior, "load", lambda _: prior)
    few, many = (InverseDecoder(InversionSettings(model=folder, steps=steps, register_scan=False)) for steps in (40, 600))
    assert few.speed == pytest.approx(15 * many.speed)
    ldm = InverseLdm(LdmSettings(model=folder, steps=40, register_scan=False))
    red, levels = InverseRed(RedSettings(model=folder)), InverseCg(CgSettings(model=folder, levels=20))
    assert ldm.speed < few.speed
    assert red.speed < few.speed
    assert levels.speed < InverseCg(CgSettings(model=folder, levels=10)).speed
    shape, weights = (10, 12, 16), 4 * prior.cost(0).weights
    assert levels.working(shape, prior.window, prior.window) == weights > 0
    assert weights < few.working(shape, prior.window, prior.window) < ldm.working(shape, prior.window, prior.window)
