"""Known words go through, names do not, not even where a pattern would let them."""

from __future__ import annotations

import pytest

from core.io.vocabulary import is_known, is_license


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Manufacturer", "SIEMENS"),
        ("Manufacturer", "Siemens Healthineers"),
        ("Manufacturer", "GE MEDICAL SYSTEMS"),
        ("Manufacturer", "Philips Medical Systems"),
        ("ManufacturersModelName", "TrioTim"),
        ("ManufacturersModelName", "Prisma_fit"),
        ("ManufacturersModelName", "DISCOVERY MR750w"),
        ("ManufacturersModelName", "Signa HDxt 1.5T"),
        ("ManufacturersModelName", "MR 7700"),
        ("ManufacturersModelName", "Ingenia Elition X"),
        ("MRAcquisitionType", "3D"),
        ("ScanningSequence", "GR\\IR"),
        ("SequenceVariant", "SK_SP_MP"),
        ("PulseSequenceType", "MPRAGE"),
        ("PulseSequenceType", "3D Turbo Spin Echo"),
    ],
)
def test_what_scanners_write_is_known(key: str, text: str) -> None:
    assert is_known(key, text)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Manufacturer", "Jane Roe"),
        ("Manufacturer", "Siemens Roe"),
        ("ManufacturersModelName", "19530617"),
        ("ManufacturersModelName", "1953"),
        ("ManufacturersModelName", "Prisma 19530617"),
        ("ManufacturersModelName", "Roe_fit"),
        ("MRAcquisitionType", "3D Roe"),
        ("ScanningSequence", "ROE"),
        ("SequenceVariant", "SK\\ROE"),
        ("PulseSequenceType", "MPRAGE of Roe"),
        ("PulseSequenceType", ""),
        ("PulseSequenceType", "flash " * 20),
        ("SeriesDescription", "MPRAGE"),
    ],
)
def test_names_numbers_and_other_keys_are_not(key: str, text: str) -> None:
    assert not is_known(key, text)


def test_short_names_of_licences() -> None:
    assert all(map(is_license, ("CC0", "PDDL", "PD", "CC-BY-4.0", "CC BY-NC-SA 4.0", "cc-by", "ODbL-1.0", "CC BY 4.0")))
    assert not any(map(is_license, ("Jane Roe", "CC0 Jane Roe", "ask Dr Roe", "", "CC-BY-Roe")))
