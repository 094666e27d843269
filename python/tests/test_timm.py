"""`byol_resnet` in timm; skipped where timm is not installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np

import byol

from .encoders import write_encoder


@unittest.skipUnless(importlib.util.find_spec("timm"), "timm is not installed")
class Timm(unittest.TestCase):
    def test_networks_that_timm_lacks_open_strictly_and_take_a_classifier(self) -> None:
        import timm
        import torch

        import byol.timm  # noqa: F401

        settings = {"stem": "cifar", "padding": "same", "first_group_projection": True, "norm": "group"}
        with tempfile.TemporaryDirectory() as temporary:
            encoder = write_encoder(Path(temporary) / "run", "resnet18x0.25", 31, channels=4, **settings)
            folder = Path(temporary) / "timm"
            folder.mkdir()
            shutil.copy(encoder / "encoder.safetensors", folder / "model.safetensors")
            config = {
                "architecture": "byol_resnet",
                "num_classes": 0,
                "num_features": 128,
                "global_pool": "avg",
                "model_args": {"arch": "resnet18x0.25", "in_chans": 4, "num_classes": 0, **settings},
                "pretrained_cfg": {"input_size": [4, 31, 31], "num_classes": 0, "first_conv": "conv1", "classifier": "fc"},
            }
            (folder / "config.json").write_text(json.dumps(config))
            model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            ours, _ = byol.load(encoder)
        images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 31, 45)).astype(np.float32))
        with torch.inference_mode():
            expected = ours(images)
            torch.testing.assert_close(model(images), expected)
            self.assertEqual(model.forward_features(images).shape, (2, 128, 4, 6))
            torch.testing.assert_close(model.forward_head(model.forward_features(images), pre_logits=True), expected)
            model.reset_classifier(7)
            self.assertEqual(model(images).shape, (2, 7))
            model.reset_classifier(0, "")
            self.assertEqual(model(images).shape, (2, 128, 4, 6))
        with self.assertRaisesRegex(ValueError, "global_pool"):
            model.reset_classifier(0, "max")


if __name__ == "__main__":
    unittest.main()
