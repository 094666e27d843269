"""The preparation of pictures, without the program."""

from __future__ import annotations

import io
import struct
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import byol
from byol.description import Preparation

from .pictures import scene, write_deep_png

GOLDEN = Path(__file__).parents[2] / "crates/byol-data/tests/data/preparation.bin"
#: Width, height, channels, largest sample, size_px, crop_fraction, crop first, antialias: those of tests/golden/preparation.py.
CASES = [
    (96, 80, 3, 255, 12, 0.875, True, False),
    (96, 80, 3, 255, 12, 0.875, True, True),
    (96, 80, 3, 255, 12, 0.875, False, False),
    (96, 80, 3, 255, 12, 0.875, False, True),
    (41, 33, 3, 255, 9, 0.9, True, False),
    (33, 42, 1, 65535, 9, 0.9, True, True),
    (33, 42, 4, 65535, 10, 0.7, False, True),
    (10, 30, 3, 255, 7, 0.9, True, False),
    (10, 30, 3, 255, 7, 0.9, False, True),
    (5, 5, 3, 255, 16, 1.0, True, True),
    (6, 5, 3, 255, 16, 0.51, False, False),
    (3, 2, 3, 255, 8, 1.0, False, True),
    (1, 37, 3, 255, 6, 0.875, True, True),
    (53, 1, 3, 255, 6, 0.875, False, False),
    (1, 1, 3, 255, 5, 0.01, True, True),
    (7, 200, 2, 65535, 11, 0.6, False, True),
]


def preparation(size_px: int = 8, channels: int = 3, **changes: Any) -> Preparation:
    """One that changes no value: mean 0, deviation 1."""
    settings = {
        "crop_first": True,
        "crop_fraction": 1.0,
        "antialias": False,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "value_range": None,
        "exif_orientation": True,
    }
    return Preparation(size_px=size_px, **{**settings, **changes})


def prepared(picture: Any, **changes: Any) -> np.ndarray:
    """`[size, size, channels]` in 0 to 1."""
    return byol.Transform(preparation(**changes))(picture).transpose(1, 2, 0)


class Golden(unittest.TestCase):
    @unittest.skipUnless(GOLDEN.is_file(), "needs the repository around the package")
    def test_pictures_of_all_shapes_are_prepared_as_the_page_states(self) -> None:
        values = np.frombuffer(GOLDEN.read_bytes(), "<f4")
        for width, height, channels, largest, size_px, fraction, crop_first, antialias in CASES:
            y, x, channel = np.meshgrid(*map(np.arange, (height, width, channels)), indexing="ij")
            formula = x * 37 + y * 101 + x * y * 13 + channel * 59 + x * x * 7
            picture = (formula * (largest // 255) % (largest + 1)).astype(np.uint8 if largest == 255 else np.uint16)
            got = prepared(
                picture,
                size_px=size_px,
                crop_fraction=fraction,
                crop_first=crop_first,
                antialias=antialias,
                mean=tuple(0.1 * (place + 1) for place in range(channels)),
                std=tuple(0.2 + 0.05 * place for place in range(channels)),
            )
            expected, values = values[: got.size], values[got.size :]
            np.testing.assert_allclose(got.reshape(-1), expected, atol=2e-5)
        self.assertEqual(values.size, 0)


class Kinds(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.rgb = scene(8, 8, np.random.default_rng(1))

    def test_a_picture_of_the_size_is_its_samples(self) -> None:
        path = self.folder / "a.png"
        Image.fromarray(self.rgb).save(path)
        for picture in (self.rgb, Image.fromarray(self.rgb), path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()).read()):
            np.testing.assert_allclose(prepared(picture), self.rgb / 255, atol=1e-6)
        np.testing.assert_allclose(prepared(self.rgb.astype(np.uint16) * 257), self.rgb / 255, atol=1e-6)

    def test_every_orientation_is_the_one_pillow_gives(self) -> None:
        from PIL import ImageOps

        for orientation in range(0, 10):
            exif = Image.Exif()
            exif[0x0112] = orientation
            path = self.folder / f"{orientation}.png"
            Image.fromarray(self.rgb).save(path, exif=exif)
            with Image.open(path) as image:
                upright = np.asarray(ImageOps.exif_transpose(image)) / 255
            np.testing.assert_allclose(prepared(path), upright, atol=1e-6)
            np.testing.assert_allclose(prepared(path, exif_orientation=False), self.rgb / 255, atol=1e-6)

    def test_deep_png_files_keep_all_bits_with_every_filter_and_pass(self) -> None:
        random = np.random.default_rng(2)
        for channels in (1, 2, 3, 4):
            for width, height in ((8, 8), (1, 1), (3, 7), (17, 10)):
                for interlaced in (False, True):
                    values = random.integers(0, 65536, (height, width, channels)).astype(np.uint16)
                    path = self.folder / "deep.png"
                    write_deep_png(path, values, interlaced)
                    colours = np.repeat(values[..., :1], 3, axis=2) if channels < 3 else values[..., :3]
                    np.testing.assert_array_equal(prepared(path), prepared(np.ascontiguousarray(colours)))
                    if channels in (2, 4):
                        four = np.concatenate([colours, values[..., -1:]], axis=2)
                        np.testing.assert_array_equal(prepared(path, channels=4), prepared(four, channels=4))

    def test_channels_become_those_of_the_encoder(self) -> None:
        pixel = np.full((8, 8, 1), 0, np.uint8)
        red = np.concatenate([pixel + 255, pixel, pixel], axis=2)
        self.assertAlmostEqual(float(prepared(red, channels=1).max()), 76 / 255, places=6)
        # 65535 of one colour: its share in the luma, to 16 bits.
        for place, share in enumerate((19_595, 38_470, 7_471)):
            colour = np.zeros((8, 8, 3), np.uint16)
            colour[..., place] = 65_535
            whole = (share * 65_535 + 0x8000) >> 16
            self.assertAlmostEqual(float(prepared(colour, channels=1).max()), whole / 65_535, places=6)
        self.assertEqual(prepared(red, channels=4)[0, 0].tolist(), [1, 0, 0, 1])
        grey_alpha = np.concatenate([pixel + 51, pixel + 102], axis=2)
        np.testing.assert_allclose(prepared(grey_alpha, channels=4)[0, 0], [0.2, 0.2, 0.2, 0.4], atol=1e-6)
        np.testing.assert_allclose(prepared(np.concatenate([red, pixel + 9], axis=2))[0, 0], [1, 0, 0], atol=1e-6)
        five = np.concatenate([red, grey_alpha], axis=2)
        self.assertEqual(prepared(five, channels=5).shape, (8, 8, 5))
        self.assertEqual(prepared(five.transpose(2, 0, 1), channels=5).shape, (8, 8, 5))
        with self.assertRaisesRegex(byol.PictureError, r"5 channel\(s\), which do not become the 3"):
            prepared(five)

    def test_a_value_range_says_what_is_black_and_white(self) -> None:
        numbers = np.array([-2000.0, -1000, 0, 500, 1000, 1e9, np.nan, -np.inf]).repeat(8).reshape(8, 8)
        expected = np.array([0, 0, 32768, 49151, 65535, 65535, 0, 0]) / 65535
        got = prepared(numbers, channels=1, value_range=(-1000.0, 1000.0))
        np.testing.assert_allclose(got[:, 0, 0], expected, atol=1e-6)
        with self.assertRaisesRegex(byol.PictureError, "without a range of their own .its values go from -2000 to 1e"):
            prepared(numbers, channels=1)
        ramp = np.arange(1001.0)
        ramp[1000] = 1e6
        from byol.value_range import intensities

        mapped = intensities(ramp.reshape(7, 11, 13), "percentile", True).reshape(-1)
        self.assertEqual([int(mapped[place]) for place in (5, 995, 500, 1000)], [0, 65535, 32768, 65535])
        self.assertEqual(intensities(np.full((3, 3, 1), 7.0), "percentile", True).max(), 0)

    def test_what_cannot_be_prepared_says_why(self) -> None:
        Image.fromarray(self.rgb).convert("LAB").save(self.folder / "lab.tif")
        (self.folder / "text.jpg").write_text("dear diary")
        deep = self.folder / "deep.png"
        write_deep_png(deep, np.zeros((9, 9, 3), np.uint16))
        cut = self.folder / "cut.png"
        cut.write_bytes(deep.read_bytes()[:60])
        huge = self.folder / "huge.png"
        huge.write_bytes(deep.read_bytes()[:16] + struct.pack(">II", 60_000, 60_000) + deep.read_bytes()[24:])
        cases = [
            (self.folder / "nowhere.jpg", "nowhere.jpg: cannot be read"),
            (self.folder, "cannot be read"),
            (self.folder / "text.jpg", "text.jpg: not a picture that Pillow reads"),
            (self.folder / "lab.tif", "lab.tif: pixels of Pillow's mode 'LAB'"),
            (cut, "cut.png: .*cut short|cut.png: damaged"),
            (huge, "huge.png: the picture is 60000×60000 pixels, more than"),
            (b"", "the bytes given"),
            (7, "expected a path, bytes, a Pillow image or a NumPy array, got int"),
            (np.zeros((2, 2, 2, 2), np.uint8), "expected an array"),
            (np.zeros((0, 5, 3), np.uint8), "5×0 pixels"),
            (np.array([["a"]]), "expected an array of numbers"),
        ]
        for picture, words in cases:
            with self.subTest(words), self.assertRaisesRegex(byol.PictureError, words):
                prepared(picture)


if __name__ == "__main__":
    unittest.main()
