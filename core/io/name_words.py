"""What the words of names tell: how a scan was made, with which agent, or who it is of."""

from __future__ import annotations

import re
import unicodedata

from core.io.vocabulary import SEQUENCES

WITHIN = {"rawdata", "sourcedata"}  # folders that hold a dataset's scans
PLANES = {*("ax", "axial", "tra", "trans", "transverse", "cor", "coronal", "sag", "sagittal", "obl", "oblique", "iso")}
MADE = (
    PLANES
    | set(SEQUENCES.split())
    | {  # words that tell how a scan was made
        *(
            "pre",
            "post",
            "gd",
            "gado",
            "ce",
            "contrast",
            "thick",
            "thin",
            "lr",
            "hr",
            "fs",
            "fatsat",
            "dark",
            "fluid",
            "darkfluid",
        ),
        *("tirm", "weighted", "brain", "head", "cube", "bravo", "t1c", "t1ce", "t1gd", "dwi", "adc", "flash"),
        *("fl2d", "fl3d", "hemo", "haemo"),
    }
)
PLACES = {  # words of folders and names that tell nothing
    *("dicom", "dicoms", "dcm", "nifti", "nii", "anat", "scan", "scans", "series", "study", "resources", "files", "data", "raw"),
    *("image", "images", "img", "mri", "mr", "sub", "ses", "original", "orig", "export"),
}
SERIES = {"scans", "resources", "series"}  # folders that hold a person's series, by their numbers
COUNTING = re.compile(r"(series|scan|ser|se|img|image|im|dicom|dcm)?\d{1,3}")  # words that count series
AROUND = r"(3d|2d|ax|tra|sag|cor)?"
CONTRASTS = (  # by the first that all words agree on; T1-weighted FLAIR is T1w, T2-weighted FLAIR is FLAIR
    ("T2starw", r"t2(star|s)w?"),
    ("FLAIR", rf"{AROUND}flair{AROUND}|darkfluid"),
    ("T1w", rf"{AROUND}t1(w|wi)?(c|ce|gd)?(se|tse|fse|ir)?{AROUND}|mprage|memprage|bravo"),
    ("T2w", rf"{AROUND}t2(w|wi)?(se|tse|fse)?{AROUND}"),
    ("PDw", rf"{AROUND}pd(w|wi)?(se|tse|fse)?{AROUND}"),
    ("angio", r"tof|mra|angio"),
)
ECHOES = {"gre", "ffe", "fl2d", "flash", "hemo", "haemo"}  # gradient echoes: what they call T2 is T2*
PURE = re.compile(r"(t1|t2|pd)(w|wi)?|flair|t2(star|s)w?|darkfluid|angio")  # words that say no more than the suffix
BRANDS = r"gddtpa|gadovist|gadavist|dotarem|clariscan|magnevist|multihance|prohance|omniscan"
GADOLINIUM = re.compile(rf"(post)?gd|gado|gadolinium|{BRANDS}|{AROUND}t1(w|wi)?gd(se|tse|fse|ir)?{AROUND}")
AGENT = re.compile(rf"ce|(post)?contrast|post|{AROUND}t1(w|wi)?(c|ce)(se|tse|fse|ir)?{AROUND}|{GADOLINIUM.pattern}")
BESIDE = {"gad": "gd", "postgad": "gd", "km": "agent"}  # may name a person, but for words beside how a scan was made
PURE_AGENT = re.compile(  # words that say no more than ce-
    rf"(t1(w|wi)?)?(c|ce|gd)|gado|gadolinium|{BRANDS}|contrast|post(gd|contrast)?|(post)?gad|km"
)
WITHOUT = re.compile(
    r"(?<![^\W_])(w/?o|without|non?|pre|ohne|sans|sin)[\W_]+(contraste?|gadolinium|gado?|gd|ce|km)(?![^\W_])", re.IGNORECASE
)
PLUS = re.compile(r"(?<![^\W_])c\+|\+ ?c(?![^\W_])", re.IGNORECASE)  # "T1 +C", "T1 C+"
STAR = re.compile(r"(?<![^\W_])t2w?\*w?", re.IGNORECASE)
NUMBER = re.compile(r"\d{1,3}(mm)?|p\d")
WORD = re.compile(r"[^\W_]+")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", STAR.sub(" T2starw ", PLUS.sub(" ce ", WITHOUT.sub(" pre ", text))))


def _in_ascii(word: str) -> str:
    return word.encode("ascii", "ignore").decode()


def words_of(text: str) -> list[str]:
    """The words of a name in ASCII letters and digits; "pre" for "without contrast", "ce" for "+C", "T2starw" for "T2*"."""
    return [word for word in map(_in_ascii, WORD.findall(_plain(text))) if word]


def is_made(word: str) -> bool:
    """Whether a word says how a scan was made."""
    return word.lower() in MADE or contrast_of(word) != "" or AGENT.fullmatch(word.lower()) is not None


def contrast_of(word: str) -> str:
    """The BIDS suffix of the contrast that a word says; empty where it says none."""
    return next((suffix for suffix, pattern in CONTRASTS if re.fullmatch(pattern, word.lower())), "")


def names_nobody(word: str) -> bool:
    """Whether a word tells nothing of a person."""
    return word.lower() in PLACES or is_made(word)


def written(name: str, *, to_made: bool = False) -> str:
    """What of a folder's or a scan's name names a person, as it is written: with its signs, and letters beyond ASCII.

    Args:
        name: of the folder or scan.
        to_made: leave out all from the first word that says how a scan was made.
    """
    plain = _plain(name)
    words = [(match, _in_ascii(match[0])) for match in WORD.finditer(plain)]
    first = next((n for n, (_, word) in enumerate(words) if is_made(word)), len(words)) if to_made else len(words)
    kept = [match for match, word in words[:first] if not names_nobody(word)]
    if len(kept) == len(words):
        return plain.strip()
    text = ""
    for before, match in zip([None, *kept], kept, strict=False):
        gap = plain[before.end() : match.start()] if before else ""
        text += (" " if WORD.search(gap) else gap) + match[0]
    return text
