"""A card is a value: it comes back as it was, and the text for readers says all of it."""

from __future__ import annotations

import pytest

from core.errors import WeightsError
from core.models.card import Card, Figure, TrainingData, read_card, read_text, write_card

CARD = Card(
    title="tiny",
    summary="A network for tests.",
    data=(
        TrainingData(name="people", licence="CC0", source="10.1/2", scans=3, persons={"train": ("01", "02"), "test": ()}),
        TrainingData(name="others"),
    ),
    training="Ten steps.",
    figures=(
        Figure(on="validation", method="cubic", metric="PSNR dB", value=27.834),
        Figure(on="validation", method="tiny", metric="PSNR dB", value=29.716, sd=0.82),
        Figure(on="validation", method="tiny", metric="SSIM", value=0.98692),
        Figure(on="test", method="tiny", metric="PSNR dB", value=30.0),
    ),
    limits="Not elsewhere.",
    versions={"torch": "2.0", "isovox": "0.1.0"},
)
TEXT = """# tiny

A network for tests.

## Intended use
Research. Not a medical device; not for diagnosis.

## Data
Cohort `people`: 3 scans. Licence: CC0. 10.1/2

- train: 01, 02
- test: none

Cohort `others`. The cohort names no licence.

## Training
Ten steps.

## Figures
On validation:

| method | PSNR dB | SSIM |
| --- | --- | --- |
| cubic | 27.83 | – |
| tiny | 29.72 ± 0.82 | 0.9869 |

On test:

| method | PSNR dB |
| --- | --- |
| tiny | 30 |

## Limits
Not elsewhere.

## Versions
isovox 0.1.0, torch 2.0
"""


def test_a_card_comes_back_and_its_text_says_all_of_it(tmp_path):
    write_card(str(tmp_path), CARD)
    assert read_card(str(tmp_path)) == CARD
    assert read_text(str(tmp_path)) == CARD.markdown() == TEXT


def test_what_is_not_told_has_no_heading():
    assert Card(title="bare", purpose="").markdown() == "# bare\n"


def test_a_card_of_before_is_text_alone(tmp_path):
    write_card(str(tmp_path), "# old\n")
    assert (read_card(str(tmp_path)), read_text(str(tmp_path))) == (None, "# old\n")
    assert read_text(str(tmp_path / "nowhere")) == ""


def test_a_card_that_cannot_be_meant_is_refused(tmp_path):
    (tmp_path / "card.json").write_text('{"title": "a", "surprise": 1}')
    with pytest.raises(
        WeightsError, match=r"card-unreadable: expected a model's card\.json in /.*, but got .*surprise.*\. Correct or remove it"
    ):
        read_card(str(tmp_path))
