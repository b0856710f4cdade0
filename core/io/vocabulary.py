"""The words that metadata may carry: what is not known here may be a person's name, and is left out.

Most sites fill the fields of a sidecar as they are meant, some write a patient's or a radiographer's name into any of them. A
pattern cannot tell "Jane Roe" from a scanner's name; a list can. A scanner that is missing here loses its name in the output,
nothing else: add it.
"""

from __future__ import annotations

import re

CUT = re.compile(r"[\s_/\\+.,-]+")
SERIAL = re.compile(r"[0-9]{1,4}[a-z]{0,2}")  # "7700", "1.5T", "3T": never a date of birth
MAKERS = """
    agilent alltech bruker biospin canon elscint esaote fonar fujifilm ge general electric gmbh healthcare healthineers hitachi
    hyperfine imaging inc ltd magnetica marconi medical mindray mr neusoft philips picker promaxo resonance samsung shimadzu
    siemens solutions synaptive systems technologies toshiba uih united varian xingaoyi
"""
MODELS = """
    achieva aera airis allegra altea ambition amira aperto architect artist atlas avanto biograph biospec brivo cima concerto
    connectom creator cx discovery dstream echelon elan elition espree essenza evolution evry excelart excite explorer fit flow
    fortian free galan genesis gracian gyroscan harmony hde hdi hdx hdxt hero ingenia ingenuity intera jet lumina magnetom max
    mmr mr mr355 mr360 mr430 mr450 mr450w mr750 mr750w multiva oasis omni open opart optima orian oval panorama pet pioneer plus
    premier prisma prodiva sempra signa skyra sola sonata spectra swoop symphony terra tim titan trio triotim ultra umr up uhp
    vantage verio vida vision voyager x xr xp xq xperience xt
"""
SEQUENCES = """
    2d 3d acquisition bravo bssfp ciss cube diffusion echo epi fast ffe fid fiesta flair flash fse fspgr ge gradient gre haste ir
    inversion magnetization magnetisation me memprage mp2rage mprage multi multiecho prepared rage rapid recovery recalled rf se
    space spgr spin spoiled ssfp steady state stir swi t1 t2 tfe tfl tir tof trufi tse turbo turboflash ute vibe vista zte
"""
WORDS: dict[str, frozenset[str]] = {
    "Manufacturer": frozenset(MAKERS.split()),
    "ManufacturersModelName": frozenset(MODELS.split()) | frozenset(MAKERS.split()),
    "MRAcquisitionType": frozenset({"1d", "2d", "3d"}),
    "ScanningSequence": frozenset({"se", "ir", "gr", "ep", "rm"}),  # the defined terms of DICOM, C.8.3.1
    "SequenceVariant": frozenset({"sk", "mtc", "ss", "trss", "sp", "mp", "osp", "none"}),
    "PulseSequenceType": frozenset(SEQUENCES.split()),
}
NUMBERED = {"ManufacturersModelName"}
CC = r"CC[ -]BY([ -](NC|SA|ND)){0,2}"
VERSIONED = rf"{CC}|PDDL|CC0|ODbL|ODC[ -]By|GPL|MIT|Apache"
LICENSE = re.compile(rf"PD|({VERSIONED})([ -]?v?[0-9](\.[0-9])?)?", re.IGNORECASE)


def is_known(key: str, text: str) -> bool:
    """Whether a text holds nothing but words that belong to this key.

    Args:
        key: BIDS name of the metadata.
        text: its value.
    """
    words = [word for word in CUT.split(text.lower()) if word]
    known = WORDS.get(key, frozenset())
    serial = [word for word in words if key in NUMBERED and SERIAL.fullmatch(word)]
    return len(text) <= 64 and len(words) > len(serial) and all(word in known or word in serial for word in words)


def is_license(text: str) -> bool:
    """Whether a text is the short name of a licence, and no more."""
    return LICENSE.fullmatch(text) is not None
