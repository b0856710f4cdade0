"""Changes to the code that no test noticed once, each with the test that must notice it now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A change of a text that occurs once.

    Attributes:
        name: what the change does.
        file: path in the project.
        text: what is replaced; it occurs exactly once in the file.
        replacement: what stands there then.
        test: the test that must fail, as pytest's node: file::name.
    """

    name: str
    file: str
    text: str
    replacement: str
    test: str


LOOP = "tests/core/training/test_loop.py"
WORK = "tests/tasks/restore/test_work.py"
EVALUATION = (
    "tests/tasks/evaluate/test_evaluation.py::test_other_options_and_another_seed_restore_anew_and_where_the_work_runs_does_not"
)
LOCK = "tests/core/io/test_lock.py"

KNOWN = (
    Mutation(
        "the moving average of the weights is off",
        "core/training/loop.py",
        "decay = min(self.settings.ema, (1 + progress.step) / (10 + progress.step))",
        "decay = 0.0",
        f"{LOOP}::test_the_average_follows_the_weights_with_the_decay_that_was_set",
    ),
    Mutation(
        "the warm-up is off",
        "core/training/loop.py",
        "rate * min(1.0, (step + 1) / settings.warmup)",
        "rate",
        f"{LOOP}::test_the_learning_rate_rises_over_the_warm_up_then_falls_by_half_a_cosine",
    ),
    Mutation(
        "every training step draws the same noise",
        "core/training/loop.py",
        "manual_seed((self.settings.seed * SEEDS_APART + number) % 2**32)",
        "manual_seed(self.settings.seed * SEEDS_APART % 2**32)",
        f"{LOOP}::test_each_batch_has_noise_of_its_own_and_the_seed_changes_all",
    ),
    Mutation(
        "the adversarial part weighs a thousand times as much",
        "core/training/objectives/adversarial.py",
        "WEIGHT = 5e-3",
        "WEIGHT = 5.0",
        "tests/core/training/test_objectives.py::test_the_adversarial_part_weighs_a_two_hundredth_of_the_absolute_error",
    ),
    Mutation(
        "validation draws with the training's seed",
        "tasks/train/training.py",
        "how.seed + 1",
        "how.seed",
        "tests/tasks/train/test_training.py::test_validation_draws_other_patches_than_training",
    ),
    Mutation(
        "noise is turned the wrong way for sagittal slices",
        "core/methods/diffusion_iqt/method.py",
        ".permute(order)",
        ".permute(sorted(range(3), key=order.__getitem__))",
        "tests/core/methods/diffusion_iqt/test_method.py::test_a_block_begins_with_the_noise_of_its_voxels_whatever_the_slices_axis",
    ),
    Mutation(
        "the halo's axes are mixed up for sagittal slices",
        "core/methods/patch_network.py",
        "seen[order.index(axis)]",
        "seen[order[axis]]",
        "tests/core/methods/test_patch_network.py::test_a_halo_is_as_wide_as_the_network_sees_along_each_axis_of_the_scan",
    ),
    Mutation(
        "the key of the noise leaves out the run's seed",
        "tasks/restore/work.py",
        "field_key(read_plan(job.out, job.plan).settings.seed, scan.sha256)",
        "field_key(0, scan.sha256)",
        f"{WORK}::test_noise_follows_the_seed_of_the_run_and_the_bytes_of_the_scan",
    ),
    Mutation(
        "the acquisition is dropped when a whole scan is read from the store",
        "tasks/restore/work.py",
        "stats, scan.forward, key, mask, scan.covariates)",
        "stats, type(scan.forward)(), key, mask, scan.covariates)",
        f"{WORK}::test_a_scan_comes_from_the_store_with_how_it_was_acquired",
    ),
    Mutation(
        "the acquisition is dropped when a part of a scan is read from the store",
        "tasks/restore/work.py",
        "stats, scan.forward, key, part, scan.covariates)",
        "stats, type(scan.forward)(), key, part, scan.covariates)",
        f"{WORK}::test_a_scan_comes_from_the_store_with_how_it_was_acquired",
    ),
    Mutation(
        "an input that changed since the plan is taken",
        "core/io/unchanged.py",
        "if digest != sha256:",
        "if not digest:",
        f"{WORK}::test_a_file_that_changed_since_the_plan_is_refused_and_leaves_nothing",
    ),
    Mutation(
        "the export's digest leaves out the metadata",
        "core/engine/planning.py",
        "scan.reference, scan.metadata, ",
        "scan.reference, ",
        "tests/core/engine/test_plan.py::test_what_the_sidecar_and_the_scores_depend_on_changes_the_export_alone",
    ),
    Mutation(
        "an evaluation's digest leaves out the options",
        "tasks/evaluate/evaluation.py",
        "candidate.method, candidate.options, weights,",
        "candidate.method, weights,",
        EVALUATION,
    ),
    Mutation(
        "an evaluation's digest leaves out the seed",
        "tasks/evaluate/evaluation.py",
        "tiling, self.settings.seed, __version__",
        "tiling, __version__",
        EVALUATION,
    ),
    Mutation(
        "a process that has a dead owner's number holds its lock",
        "core/io/lock.py",
        'abs(float(process.create_time()) - float(claim["born"])) < 1 and ',
        "",
        f"{LOCK}::test_a_process_that_has_the_number_of_a_dead_owner_is_not_taken_for_it",
    ),
    Mutation(
        "two runs that follow a dead owner at once both have the lock",
        "core/io/lock.py",
        "        other = files.read_json(uri)\n",
        "        other = mine\n",
        f"{LOCK}::test_of_two_that_follow_a_dead_owner_the_last_to_write_has_it",
    ),
    Mutation(
        "seams are held against planes that lie otherwise to the slices",
        "core/engine/quality.py",
        "max(1, Fraction(scale).limit_denominator(PERIOD).numerator)",
        "1",
        "tests/core/engine/test_quality.py::test_steps_from_slice_to_slice_are_no_seam",
    ),
)
