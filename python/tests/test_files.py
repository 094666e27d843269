"""Weights and descriptions: what opens, and what is refused with a reason."""

from __future__ import annotations

import json
import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any, Dict

import numpy as np

import byol
from byol.weights import read_safetensors

from .encoders import write_encoder, write_safetensors


class InFolder(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)


class Weights(InFolder):
    def test_every_type_of_number_becomes_float32(self) -> None:
        path = self.folder / "all.safetensors"
        exact = np.array([[1.5, -0.25], [0.0, 3e4]], np.float32)
        bf16 = (exact.view(np.uint32) >> 16).astype("<u2")
        tensors = {"f64": exact.astype("<f8"), "f32": exact, "f16": exact.astype("<f2"), "bf16": bf16}
        write_safetensors(path, {**tensors, "i64": np.array(7, "<i8")}, made="by a test")
        read, metadata = read_safetensors(path)
        self.assertEqual(metadata, {"made": "by a test"})
        for name in tensors:
            self.assertEqual(read[name].dtype, np.float32)
            tolerance = 130.0 if name == "bf16" else 16.0
            np.testing.assert_allclose(read[name], exact, atol=tolerance if name in ("bf16", "f16") else 0)
        self.assertEqual(read["bf16"][0, 0], 1.5)
        self.assertEqual((read["i64"].dtype, read["i64"].shape, int(read["i64"])), (np.int64, (), 7))

    def test_damaged_files_are_refused(self) -> None:
        path = self.folder / "a.safetensors"
        write_safetensors(path, {"a": np.ones((3, 2), "<f4")})
        whole = path.read_bytes()

        def header(text: bytes, data: bytes = b"") -> bytes:
            return len(text).to_bytes(8, "little") + text + data

        entry = b'{"a":{"dtype":"F32","shape":%s,"data_offsets":%s}}'
        cases = {
            "end within": whole[:5],
            "within the file": whole[:-1],
            "header does not": (2**62).to_bytes(8, "little") + whole[8:],
            "type F8": header(entry.replace(b"F32", b"F8_E4M3") % (b"[1]", b"[0,1]"), b"x"),
            "of shape": header(entry % (b"[3]", b"[0,8]"), b"x" * 8),
            "no whole": header(entry % (b"[-1]", b"[0,4]"), b"x" * 4),
            "bytes of the": whole + b"more",
            "safetensors": header(b"[1, 2]"),
            "restore": header(b"{no json"),
        }
        for words, content in cases.items():
            path.write_bytes(content)
            with self.subTest(words), self.assertRaisesRegex(byol.EncoderError, f"a.safetensors.*{words}"):
                read_safetensors(path)


class Encoders(InFolder):
    def changed(self, **changes: Any) -> Path:
        folder = write_encoder(self.folder / "run", "resnet18x0.0625", 16)
        path = folder / "encoder.json"
        description: Dict[str, Any] = json.loads(path.read_text())
        for key, value in changes.items():
            (description["preprocessing"] if key in description["preprocessing"] else description)[key] = value
        path.write_text(json.dumps(description))
        return folder

    def test_a_folder_and_its_file_are_the_same_encoder(self) -> None:
        folder = self.changed()
        picture = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
        rows = [byol.embed(*byol.load(path, torch=False), [picture]) for path in (folder, folder / "encoder.safetensors")]
        self.assertEqual(rows[0].shape, (1, 32))
        self.assertTrue((rows[0] >= 0).all() and (rows[0] > 0).any())
        np.testing.assert_array_equal(*rows)

    def test_what_is_missing_says_what_was_expected(self) -> None:
        folder = self.changed()
        cases = [(self.folder / "nowhere", "no such encoder; expected a run folder"), (self.folder, "no encoder.safetensors")]
        for path, words in cases:
            with self.assertRaisesRegex(byol.EncoderError, words):
                byol.load(path)
        (folder / "encoder.json").unlink()
        with self.assertRaisesRegex(byol.EncoderError, "encoder.json: missing.*beside the weights"):
            byol.load(folder)

    def test_wrong_descriptions_name_the_key_and_what_was_expected(self) -> None:
        cases = {
            r"arch: unknown architecture \"?'resnet19'": {"arch": "resnet19"},
            "arch: unknown": {"arch": None},
            "a multiple of 1/64": {"arch": "resnet18x0.3"},
            'stem: expected "imagenet" or "cifar", got "deep"': {"stem": "deep"},
            "padding": {"padding": "valid"},
            "first_group_projection: expected false or true, got 1": {"first_group_projection": 1},
            "norm": {"norm": "layer"},
            "precision": {"precision": "f16"},
            "representation_size: expected 32, got 512": {"representation_size": 512},
            "preprocessing.size_px: expected a whole number from 1 to 8192, got 0": {"size_px": 0},
            "preprocessing.crop_fraction": {"crop_fraction": 1.5},
            "preprocessing.mean": {"mean": "grey"},
            "preprocessing.std": {"std": [0.1, 0.2]},
            "preprocessing.std: expected 3 positive": {"std": [0.1, 0.0, 0.2]},
            "resize: expected": {"resize": "stretch"},
            "semantics: expected": {"semantics": "opencv"},
            "preprocessing: expected an object": {"preprocessing": {"size_px": 3}},
            "value_range: expected": {"value_range": [3, 3]},
            "exif_orientation: expected": {"exif_orientation": "yes"},
            "a newer package may know it": {"preparation": {"algorithm": 2}},
        }
        for words, changes in cases.items():
            with self.subTest(words), self.assertRaisesRegex(byol.EncoderError, f"encoder.json: .*{words}"):
                byol.load(self.changed(**changes))

    def test_weights_of_another_network_are_refused_by_the_first_tensor(self) -> None:
        folder = self.changed(arch="resnet34x0.0625")
        with self.assertRaisesRegex(byol.EncoderError, "layer1.2.conv1.weight is missing; the weights do not belong to"):
            byol.load(folder)
        folder = self.changed(stem="cifar")
        with self.assertRaisesRegex(byol.EncoderError, r"conv1.weight: expected shape \(4, 3, 3, 3\), got \(4, 3, 7, 7\)"):
            byol.load(folder)
        folder = self.changed(norm="group")
        with self.assertRaisesRegex(byol.EncoderError, "running_mean has no place in the network"):
            byol.load(folder)

    def test_the_statement_of_the_preparation_is_accepted(self) -> None:
        filter_ = {"kernel": "cubic", "a": -0.5, "antialias": False, "outside": "dropped"}
        stated = {
            "algorithm": 1,
            "steps": ["decode", "channels", "orientation", "crop", "resize", "clip", "normalise"],
            "channels": "rgb",
            "side_rounding": "down",
            "start_rounding": "up",
            "filter": filter_,
            "range": [0.0, 1.0],
        }
        byol.load(self.changed(preparation=stated, exif_orientation=True), torch=False)
        with self.assertRaisesRegex(byol.EncoderError, "preparation: expected"):
            byol.load(self.changed(preparation={**stated, "filter": {**filter_, "a": -0.75}}), torch=False)

    def test_an_orientation_that_the_run_left_alone_is_left_alone(self) -> None:
        folder = self.changed()
        self.assertTrue(byol.load(folder, torch=False)[1].preparation.exif_orientation)
        (folder / "config.toml").write_text("[data]\nexif_orientation = false\n")
        self.assertFalse(byol.load(folder, torch=False)[1].preparation.exif_orientation)
        self.changed(exif_orientation=True)
        self.assertTrue(byol.load(folder, torch=False)[1].preparation.exif_orientation)

    def test_an_encoder_of_bf16_says_that_rounding_differs(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            byol.load(self.changed(precision="bf16"), torch=False)
        self.assertIn("bf16", str(caught[0].message))
        self.assertEqual(Path(caught[0].filename), Path(__file__))


if __name__ == "__main__":
    unittest.main()
