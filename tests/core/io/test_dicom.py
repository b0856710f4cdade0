"""A DICOM series is put together by where its slices lie; what is wrong with it gets its name."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from core.errors import InputError
from core.io.dicom import series as dicom
from core.io.dicom.files import read_file

SERIES = generate_uid()
ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])


def turned(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions (LPS) of a row and a column of an oblique axial scan."""
    return ROW, np.array([0.0, np.cos(angle), np.sin(angle)])


def write_slice(path, pixels, position, *, row=ROW, column=COLUMN, number=1, **tags) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID, SERIES
    one.PatientName, one.PatientBirthDate, one.InstitutionName = "DOE^JANE", "19700101", "Some Hospital"
    one.Rows, one.Columns = pixels.shape
    one.PixelSpacing = [2.5, 2.0]  # between rows, between columns
    one.ImageOrientationPatient = [float(v) for v in (*row, *column)]
    one.ImagePositionPatient = [float(v) for v in position]
    one.InstanceNumber, one.SamplesPerPixel, one.PhotometricInterpretation = number, 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.EchoTime, one.RepetitionTime, one.MagneticFieldStrength, one.SliceThickness = 90, 4000, 1.5, 4.5
    one.Manufacturer, one.ManufacturerModelName = "SIEMENS", "Avanto"
    one.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in tags.items():
        setattr(one, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)


@pytest.fixture
def series(tmp_path):
    """Write a series of 12 slices, 40 rows, 36 columns, 5 mm apart; ``places`` (in slices) say where each lies."""

    def make(places=range(12), angle=0.0, shuffle=True, **tags):
        row, column = turned(angle)
        voxels = np.random.default_rng(0).integers(0, 4000, (36, 40, len(places)))
        names = np.random.default_rng(1).permutation(len(places)) if shuffle else range(len(places))
        for index, (place, name) in enumerate(zip(places, names, strict=True)):
            position = np.array([-30.0, -40, 10]) + np.cross(row, column) * 5.0 * place
            path = tmp_path / "series" / f"{name:03}.dcm"
            write_slice(path, voxels[:, :, index].T, position, row=row, column=column, number=int(name), **tags)
        return str(tmp_path / "series"), voxels

    return make


def refused(folder: str, code: str, match: str = "") -> None:
    with pytest.raises(InputError, match=rf"^{code}: expected .*, but got .*{match}.*\. .+"):
        dicom.load_series(folder)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.4])
def test_slices_are_ordered_by_place_and_voxels_lie_where_dicom_says(series, angle):
    folder, voxels = series(angle=angle)
    image, grid, stored = dicom.load_series(folder)
    np.testing.assert_array_equal(stored.orientation.inverse().apply(image), voxels)
    row, column = turned(angle)
    at = (7, 11, 5)  # column, row, slice
    lps = np.array([-30.0, -40, 10]) + 2.0 * 7 * row + 2.5 * 11 * column + 5.0 * 5 * np.cross(row, column)
    as_stored = grid.reorient(stored.orientation.inverse())
    np.testing.assert_allclose(as_stored.world(np.array([at], float))[0], lps * [-1, -1, 1], atol=1e-9)
    assert grid.codes == ("R", "A", "S")


def test_the_header_alone_gives_the_same_grid(series):
    folder, _ = series(angle=0.3)
    assert dicom.header(folder).grid == dicom.load_series(folder)[1]


def test_scaling_and_signed_voxels(series):
    folder, voxels = series(RescaleSlope="0.5", RescaleIntercept="-100")
    image, _, stored = dicom.load_series(folder)
    np.testing.assert_array_equal(stored.orientation.inverse().apply(image), voxels * np.float32(0.5) - 100)


@pytest.mark.parametrize(
    ("value", "limit", "padded"), [(5000, None, {5000}), (63536, None, {63536}), (5000, 5002, {5000, 5001, 5002}), (0, None, {0})]
)
def test_padding_is_no_intensity(series, value, limit, padded):
    folder, voxels = series(PixelPaddingValue=value, **({"PixelPaddingRangeLimit": limit} if limit else {}))
    inside = np.maximum(voxels, 7)
    filled = inside.copy()
    filled[:5] = np.resize(sorted(padded), filled[:5].shape)
    by_number = {}
    for path in dicom.files.walk(folder):
        one = pydicom.dcmread(f"{folder}/{path}")
        by_number[float(one.ImagePositionPatient[2])] = (path, one)
    for index, place in enumerate(sorted(by_number)):
        path, one = by_number[place]
        one.PixelData = filled[:, :, index].T.astype(np.uint16).tobytes()
        one.save_as(f"{folder}/{path}")
    image, _, stored = dicom.load_series(folder)
    seen = stored.orientation.inverse().apply(image)
    np.testing.assert_array_equal(seen[5:], inside[5:])
    assert (seen[:5] == inside[5:].min()).all()


def numbered(folder: str, numbers, **tags) -> str:
    """The folder of a series whose slices, in their order, were given these numbers."""
    slices = sorted(
        (pydicom.dcmread(f"{folder}/{path}") for path in dicom.files.walk(folder)), key=lambda one: one.ImagePositionPatient[2]
    )
    for one, number in zip(slices, numbers, strict=True):
        one.InstanceNumber = number
        for name, value in tags.items():
            setattr(one, name, value)
        one.save_as(one.filename)
    return folder


@pytest.mark.parametrize(
    ("numbers", "tags", "missing"),
    [
        (range(5, 17), {}, "tells of 16 slices and 12 are there: 4 may be missing at the ends"),
        (range(16, 4, -1), {}, "tells of 16 slices and 12 are there: 4 "),
        ([*range(1, 21, 2), 4, 6], {}, "tells of 19 slices and 12 are there: 7 "),  # numbered as they were acquired
        (range(6, 30, 2), {}, "tells of 14 slices and 12 are there: 2 "),
        (range(1, 13), {"ImagesInAcquisition": 20}, "tells of 20 slices and 12 are there: 8 "),
        (range(1, 13), {"ImagesInAcquisition": 12}, ""),
        (range(1, 13), {"ImagesInAcquisition": 24}, ""),  # of two echoes
        (range(2, 26, 2), {}, ""),
        (range(13, 25), {}, ""),
        (range(12), {}, ""),
        ([3] * 12, {}, ""),
        ([None] * 12, {}, ""),
    ],
)
def test_slices_that_are_missing_at_the_ends_are_told_where_numbers_tell_them(series, numbers, tags, missing):
    doubt = dicom.header(numbered(series()[0], numbers, **tags)).doubt
    assert doubt.startswith(missing)
    assert bool(doubt) == bool(missing)


@pytest.mark.parametrize(("kind", "name"), [(np.float32, "Float"), (np.float64, "DoubleFloat")])
def test_voxels_may_be_fractions(series, kind, name):
    folder, voxels = series()
    for path in dicom.files.walk(folder):
        one = pydicom.dcmread(f"{folder}/{path}")
        pixels = one.pixel_array.astype(kind) / 8
        pixels[0] = 9999.5
        del one.PixelData, one.BitsStored, one.HighBit, one.PixelRepresentation
        one.BitsAllocated = 8 * pixels.itemsize
        setattr(one, f"{name}PixelData", pixels.tobytes())
        setattr(one, f"{name}PixelPaddingValue", 9999.5)
        one.save_as(f"{folder}/{path}")
    image, _, stored = dicom.load_series(folder)
    seen = stored.orientation.inverse().apply(image)
    np.testing.assert_array_equal(seen[:, 1:], voxels[:, 1:].astype(np.float32) / 8)
    assert (seen[:, 0] == seen[:, 1:].min()).all()


def test_gaps_are_counted_and_placed(series):
    folder, _ = series([0, 1, 2, 3, 4, 7, 8, 9, 10, 11])
    refused(folder, "dicom-gaps", "2 missing, after 30.0 mm")


def test_slices_at_the_same_place_are_named(series):
    folder, _ = series([0, 1, 2, 3, 3, 4, 5, 6, 7, 8])
    refused(folder, "dicom-duplicates", "1 more at 25.0 mm")


def test_two_echoes_in_a_folder_are_duplicates(series):
    folder, _ = series([*range(12), *range(12)])
    refused(folder, "dicom-duplicates", "12 more")


def test_uneven_steps(series):
    refused(series([0, 1, 2, 3.2, 4, 5, 6, 7, 8, 9, 10])[0], "dicom-uneven", "4.00 to 6.00 mm")


def test_a_slice_beside_the_others(series, tmp_path):
    folder, voxels = series()
    write_slice(tmp_path / "series" / "x.dcm", voxels[:, :, 0].T, [-20.0, -40, 70.0])
    refused(folder, "dicom-uneven", "beside")


def test_two_series_in_a_folder(series, tmp_path):
    folder, voxels = series()
    write_slice(tmp_path / "series" / "x.dcm", voxels[:, :, 0].T, [-30.0, -40, 70], SeriesInstanceUID=generate_uid())
    refused(folder, "dicom-several-series", "2 series in one folder")


def test_a_localizer_among_the_slices(series, tmp_path):
    folder, _ = series()
    write_slice(tmp_path / "series" / "x.dcm", np.ones((64, 64)), [0.0, 0, 0], row=COLUMN, column=np.array([0.0, 0, -1]))
    refused(folder, "dicom-mixed", "12 of 40x36 axial and 1 of 64x64 sagittal")


@pytest.mark.parametrize(
    ("code", "tags"),
    [
        ("dicom-multiframe", {"NumberOfFrames": "8"}),
        ("voxels-rgb", {"SamplesPerPixel": 3}),
        ("scaling-nonfinite", {"RescaleSlope": "0"}),
        ("field-of-view", {"PixelSpacing": [0.1, 0.1]}),
        ("dicom-no-geometry", {"ImagePositionPatient": None}),
    ],
)
def test_each_bad_series_has_its_reason(series, code, tags):
    refused(series(**tags)[0], code)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelSpacing": [-2.5, 2.0]}, "-2.5, 2 in"),
        ({"PixelSpacing": [2.5, 0.0]}, "2.5, 0 in"),
        ({"ImageOrientationPatient": [-2, 0, 0, 0, -2, 0]}, "lengths 2 and 2, of -2, 0, 0, 0, -2, 0 in"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.99, 0]}, "lengths 1 and 0.99, of"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "lengths 0 and 0, of"),
        ({"ImageOrientationPatient": [-1, 0, 0, -0.7, -0.7141, 0]}, "45.57 degrees, of -1, 0, 0, -0.7, -0.7141, 0 in"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "0 degrees, of"),
    ],
)
def test_directions_and_spacings_that_cannot_be_are_refused_by_their_element(series, tags, words):
    refused(series(**tags)[0], "dicom-no-geometry", words)
    with pytest.raises(InputError, match=next(iter(tags))):
        dicom.header(series(**tags)[0])


def test_directions_may_be_rounded(series):
    before, rounded = dicom.header(series(angle=0.3)[0]), [1, 0, 0, 0, round(np.cos(0.3), 4), round(np.sin(0.3), 4)]
    after = dicom.header(series(angle=0.3, ImageOrientationPatient=rounded)[0])
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-3)


def test_one_slice_none_and_truncated_ones(series, tmp_path):
    refused(series([0])[0], "not-3d")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no DICOM")
    refused(str(tmp_path / "empty"), "dicom-missing")
    folder, _ = series()
    path = tmp_path / "series" / "003.dcm"
    path.write_bytes(path.read_bytes()[:-500])
    refused(folder, "dicom-members", "1 of 12 that cannot be read, such as 003.dcm")


def test_a_blank_series(series):
    folder, _ = series(RescaleSlope="1e-9")
    assert dicom.load_series(folder)[0].max() < 1e-5
    for path in dicom.files.walk(folder):
        one = pydicom.dcmread(f"{folder}/{path}")
        one.PixelData = bytes(len(one.PixelData))
        one.save_as(f"{folder}/{path}")
    refused(folder, "voxels-zero")


def test_other_files_in_the_folder_do_not_matter(series, tmp_path):
    folder, _ = series()
    before = dicom.load_series(folder)[0]
    (tmp_path / "series" / "notes.txt").write_text("a note")
    (tmp_path / "series" / "DICOMDIR").write_bytes(b"")
    np.testing.assert_array_equal(dicom.load_series(folder)[0], before)


def test_elements_that_name_a_person_are_not_even_read(series):
    folder, _ = series()
    one = read_file(f"{folder}/000.dcm", pixels=True)
    assert "PatientName" in pydicom.dcmread(f"{folder}/000.dcm")
    assert not {"PatientName", "PatientBirthDate", "InstitutionName"} & set(one.dir())


def test_metadata_are_in_bids_units_and_name_nobody(series):
    found = dicom.metadata(series()[0])
    assert found == {
        "EchoTime": 0.09,
        "RepetitionTime": 4.0,
        "MagneticFieldStrength": 1.5,
        "SliceThickness": 4.5,
        "Manufacturer": "SIEMENS",
        "ManufacturersModelName": "Avanto",
    }


def test_words_of_a_description_that_may_be_a_name_are_counted(series):
    found = dicom.metadata(series(SeriesDescription="t2_tse_tra DOE^JANE")[0])
    assert (found["SeriesDescription"], found["SeriesDescriptionWithheld"]) == ("t2 tse tra", 2)
