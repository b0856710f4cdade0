"""neuroHarmonize's own row in the table of a trial of harmonisation, by its package in an environment of its own.

    uv venv NH && uv pip install --python NH/bin/python neuroHarmonize 'numpy<2'
    python -m tests.benchmarks.neuroharmonize_row TRIAL COHORT --python NH/bin/python

It is fitted on the features of the persons that the rivals were fitted on, age preserved, and applied to those of the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from core.harmonize.tables.table import Features
from core.settings.harmonisation import HarmonisationTrial
from tasks.evaluate.harmonisation import find
from tasks.evaluate.harmonisation_table import COLUMNS, age_in, scores, text

CODE = """
import json, sys
import numpy as np, pandas as pd
from neuroHarmonize import harmonizationApply, harmonizationLearn
said = json.load(sys.stdin)
tables = {name: pd.DataFrame({"SITE": part["site"], "age": part["age"]}) for name, part in said.items()}
model, _ = harmonizationLearn(np.array(said["fit"]["values"]), tables["fit"], ref_batch="scanner0")
made = harmonizationApply(np.array(said["new"]["values"]), tables["new"], model)
json.dump(np.asarray(made).tolist(), sys.stdout)
"""


def _said(features: Features) -> dict[str, object]:
    return {"site": features.site, "age": features.covariates["age"], "values": features.values.tolist()}


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", type=Path)
    parser.add_argument("cohort")
    parser.add_argument("--python", required=True, help="of the environment that has neuroHarmonize")
    said = parser.parse_args()
    kept = json.loads((said.trial / "summary.json").read_text())["Settings"]
    trial = find(HarmonisationTrial.model_validate(kept | {"cohort": said.cohort}))
    files = [said.trial / "isovox" / "trial" / f"third-{trial.person(n)}.json" for n in range(len(trial.sources))]
    made = [json.loads(path.read_text())["Made"] for path in files]
    fitted, new = (Features.from_tsv(str(said.trial / "features" / f"{name}.tsv")) for name in ("raw_fit", "raw"))
    given = json.dumps({"fit": _said(fitted), "new": _said(new)})
    done = subprocess.run([said.python, "-c", CODE], input=given, capture_output=True, text=True, check=True)
    values = np.array(json.loads(done.stdout.splitlines()[-1]), np.float64)
    harmonised = new.with_values(values)
    row = {"rival": "raw + neuroHarmonize"} | scores(trial, harmonised) | age_in(trial, made, harmonised)
    sys.stdout.write("\t".join([row["rival"], *(text(row, column) for column in COLUMNS)]) + "\n")


if __name__ == "__main__":
    main()
