"""How near another library's representations are to those of `byol embed`: what the scripts beside this one share."""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Dict, Tuple

import numpy as np

import byol

#: ‖difference‖ / ‖representation‖ of the worst picture.
TOLERANCE = 1e-4
BATCH = 16


def embedded(encoder: str, pictures: str) -> Dict[str, np.ndarray]:
    """What `byol embed` gives for each picture, by its path below the folder; `BYOL` names another program."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "embedded.npy"
        program = os.environ.get("BYOL", "byol")
        subprocess.run([program, "-q", "embed", encoder, pictures, "--split", "all", "-o", str(out)], check=True)
        with open(out.with_suffix(".names.csv"), newline="", encoding="utf-8") as file:
            names = [row[0] for row in csv.reader(file)][1:]
        return dict(zip(names, np.load(out)))


def compare(library: str, represent: Callable[[np.ndarray], np.ndarray], encoder: str, pictures: str) -> None:
    """Prints the agreement of `represent`, prepared pictures `[batch, channels, size, size]` → `[batch, D]`, and exits with 1 above the tolerance."""
    _, transform = byol.load(encoder, torch=False)
    expected = embedded(encoder, pictures)
    names = list(expected)
    rows = []
    for start in range(0, len(names), BATCH):
        rows.append(represent(transform.batch(Path(pictures) / name for name in names[start : start + BATCH])))
    apart = [_apart(row, expected[name]) for name, row in zip(names, np.concatenate(rows))]
    error, cosine = np.max(apart, axis=0)
    print(f"{library}: {len(apart)} pictures, worst relative error {error:.1e}, worst cosine distance {cosine:.1e}")
    if not error <= TOLERANCE:
        sys.exit(f"{library}: {error:.1e} is more than the {TOLERANCE:.0e} that rounding explains")


def _apart(got: np.ndarray, expected: np.ndarray) -> Tuple[float, float]:
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(got), np.linalg.norm(expected)
    cosine = 1 - got @ expected / max(lengths[0] * lengths[1], 1e-300)
    return float(np.linalg.norm(got - expected) / max(lengths[1], 1e-300)), float(max(cosine, 0.0))


def arguments(usage: str, count: int) -> list:
    """The command line, or its description."""
    if len(sys.argv) != count + 1:
        sys.exit(usage)
    return sys.argv[1:]
