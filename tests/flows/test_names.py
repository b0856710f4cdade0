"""Runs bear the names of what they are of."""

from __future__ import annotations

import re

import pytest

from core.settings.evaluate import EvaluationSettings
from core.settings.harmonize import HarmonizeSettings
from core.settings.run import RunSettings
from core.settings.train import TrainSettings
from flows.runs.names import run_name

DAY = r", \d{4}-\d\d-\d\d$"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (RunSettings(input="/data/study/", out="o", method="cubic"), "study, cubic"),
        (RunSettings(input="s3://bucket/ds000001", out="o", method="unires").model_dump(mode="json"), "ds000001, unires"),
        (TrainSettings(recipe="unet-3d", cohort="/data/heads"), "heads, unet-3d"),
        (EvaluationSettings(protocol="thick-slice", cohort="/data/heads", out="o", methods=("cubic",)), "heads, thick-slice"),
        (HarmonizeSettings(sites=("berlin=/data/b", "oslo=s3://o"), out="o"), r"berlin \+ oslo, cubic"),
        (HarmonizeSettings(sites=("a=/a", "b=/b", "c=/c", "d=/d", "e=/e"), out="o"), r"a \+ b \+ c and 2 more, cubic"),
        (HarmonizeSettings(sites=("/data/cohort.tsv",), out="o"), r"cohort\.tsv, cubic"),
    ],
)
def test_a_run_is_named_by_cohort_by_what_is_done_and_by_the_day(settings, name):
    assert re.fullmatch(name + DAY, run_name(settings))
