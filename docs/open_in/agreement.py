"""How near another library's representations are to those of `byol embed`: what the scripts beside this one share."""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Dict, Tuple

import numpy as np
from PIL import Image, ImageOps

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
    _print(library, dict(zip(names, np.concatenate(rows))), expected)


def compare_files(library: str, represent: Callable[[Path], np.ndarray], encoder: str, pictures: str) -> None:
    """As `compare`, for a `represent` that takes pictures as they are; those of other than 8 bits are left out, and that is said."""
    expected, got = embedded(encoder, pictures), {}
    for name in expected:
        try:
            got[name] = represent(Path(pictures) / name)
        except NotBytes:
            print(f"left out {name}: not of 8 bits", file=sys.stderr)
    _print(library, got, expected)


class NotBytes(Exception):
    """A picture whose samples are no bytes."""


def pixels(path: Path, channels: int) -> np.ndarray:
    """`uint8 [1, height, width, channels]`, upright."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode not in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise NotBytes
    return np.asarray(picture.convert("RGB" if channels == 3 else "L")).reshape(1, picture.height, picture.width, channels)


def _print(library: str, got: Dict[str, np.ndarray], expected: Dict[str, np.ndarray]) -> None:
    apart = [_apart(row, expected[name]) for name, row in got.items()]
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
