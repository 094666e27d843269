"""Agreement with `byol embed`, on pictures of every kind, sizes and orientations.

    cd python; BYOL=../target/release/byol python -m unittest -v

`PICTURES=FOLDER` makes them of your pictures in place of drawn ones, `COUNT=200` as many (40).
"""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any, Dict

import numpy as np

import byol

from .encoders import write_encoder
from .pictures import write_pictures

PROGRAM = os.environ.get("BYOL")
#: ‖difference‖ / ‖row‖ of the worst picture.
TOLERANCE = 1e-4


def embedded(encoder: Path, pictures: Path, folder: Path) -> Dict[str, np.ndarray]:
    """What the program gives for each picture, by name."""
    out = folder / f"{encoder.name}.npy"
    command = [str(PROGRAM), "-q", "embed", str(encoder), str(pictures), "-o", str(out), "--split", "all"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    with open(out.with_suffix(".names.csv"), newline="") as file:
        names = [row[0] for row in csv.reader(file)][1:]
    return dict(zip(names, np.load(out)))


def errors(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Relative error and cosine distance."""
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(got), np.linalg.norm(expected)
    cosine = got @ expected / (lengths[0] * lengths[1])
    return np.array([np.linalg.norm(got - expected) / lengths[1], max(1 - cosine, 0.0)])


@unittest.skipUnless(PROGRAM, "BYOL names no program")
class Agreement(unittest.TestCase):
    pictures: Path
    kinds: Dict[Path, str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        cls.pictures = cls.folder / "pictures"
        given = os.environ.get("PICTURES")
        sources = sorted(path for path in Path(given).rglob("*") if path.is_file()) if given else None
        cls.kinds = dict(write_pictures(cls.pictures, int(os.environ.get("COUNT", "40")), sources))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def check(self, name: str, pytorch: bool = True, count: int = 10**9, **encoder: Any) -> None:
        path = write_encoder(self.folder / name, **encoder)
        expected = embedded(path, self.pictures, self.folder)
        self.assertEqual(len(expected), len(self.kinds))
        model, transform = byol.load(path, torch=pytorch)
        paths = list(self.kinds)[:count]
        apart = {
            picture.name: errors(row, expected[picture.name])
            for picture, row in zip(paths, byol.embed(model, transform, paths))
        }
        relative, cosine = np.max(list(apart.values()), axis=0)
        print(f"{name}: {len(apart)} pictures, worst relative error {relative:.1e}, worst cosine distance {cosine:.1e}", flush=True)
        failed = {name: f"{error:.2g}" for name, (error, _) in apart.items() if not error <= TOLERANCE}
        self.assertFalse(failed)

    @unittest.skipUnless(byol.loading._has_torch(), "PyTorch is not installed")
    def test_every_architecture_stem_padding_and_semantics(self) -> None:
        archs = ["resnet18x0.25", "resnet18", "resnet18x2", "resnet50"]
        for arch, stem, padding, semantics in itertools.product(
            archs, ["imagenet", "cifar"], ["symmetric", "same"], ["reference", "torchvision"]
        ):
            with self.subTest(arch=arch, stem=stem, padding=padding, semantics=semantics):
                self.check(
                    f"{arch}-{stem}-{padding}-{semantics}",
                    arch=arch,
                    size_px=96 if stem == "imagenet" else 32,
                    stem=stem,
                    padding=padding,
                    semantics=semantics,
                )

    @unittest.skipUnless(byol.loading._has_torch(), "PyTorch is not installed")
    def test_preparations_and_networks_that_few_have(self) -> None:
        cases: Dict[str, Dict[str, Any]] = {
            "resize-then-crop": {"resize": "resize_then_crop", "semantics": "torchvision"},
            "resize-then-crop-reference": {"resize": "resize_then_crop", "crop_fraction": 0.7},
            "odd-fraction": {"crop_fraction": 0.9, "size_px": 41},
            "one-channel": {"channels": 1},
            "four-channels": {"channels": 4, "semantics": "torchvision"},
            "value-range": {"value_range": [10.0, 200.0]},
            "percentile": {"value_range": "percentile", "channels": 4},
            "group-norm": {"norm": "group"},
            "projection": {"first_group_projection": True, "padding": "same", "size_px": 45},
        }
        for name, changes in cases.items():
            with self.subTest(name):
                self.check(name, **{"arch": "resnet18x0.25", "size_px": 64, **changes})

    def test_the_model_in_numpy(self) -> None:
        cases: Dict[str, Dict[str, Any]] = {
            "numpy": {"arch": "resnet18x0.25"},
            "numpy-same-cifar": {"arch": "resnet18x0.25", "padding": "same", "stem": "cifar", "semantics": "torchvision"},
            "numpy-resnet50": {"arch": "resnet50x0.25", "padding": "same"},
            "numpy-group-norm": {"arch": "resnet18x0.25", "norm": "group"},
        }
        for name, changes in cases.items():
            with self.subTest(name):
                self.check(name, pytorch=False, count=20, size_px=33, **changes)

    def test_pictures_that_the_program_leaves_out_are_errors(self) -> None:
        damaged = self.folder / "damaged"
        damaged.mkdir()
        whole = next(path for path, kind in self.kinds.items() if kind == "jpeg_420").read_bytes()
        files = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "text.png": b"no picture"}
        for name, content in files.items():
            (damaged / name).write_bytes(content)
        encoder = write_encoder(self.folder / "for-damaged", "resnet18x0.125", 32)
        _, transform = byol.load(encoder, torch=False)
        for name in files:
            with self.assertRaisesRegex(byol.PictureError, name):
                transform(damaged / name)


if __name__ == "__main__":
    unittest.main()
