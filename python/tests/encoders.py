"""Encoders of random weights, written as `byol` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np

from byol.architecture import Architecture, parse_arch


def write_safetensors(path: Path, tensors: Dict[str, np.ndarray], **metadata: str) -> None:
    """Writes tensors of any type that safetensors has; uint16 stands for bf16."""
    types = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<u2": "BF16", "<i8": "I64"}
    header: Dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for name, values in sorted(tensors.items()):
        end = position + values.nbytes
        header[name] = {"dtype": types[values.dtype.str], "shape": list(values.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, values in sorted(tensors.items()):
            file.write(np.ascontiguousarray(values).tobytes())


def write_encoder(folder: Path, arch: str, size_px: int, seed: int = 0, **changes: Any) -> Path:
    """Writes `encoder.safetensors` and `encoder.json`; `changes` are keys of the latter, or of its `preprocessing`."""
    folder.mkdir(parents=True, exist_ok=True)
    channels = changes.pop("channels", 3)
    preprocessing = {
        "size_px": size_px,
        "resize": "crop_then_resize",
        "crop_fraction": 0.875,
        "semantics": "reference",
        "mean": [0.485, 0.456, 0.406, 0.5][:channels] if channels in (3, 4) else [0.5] * channels,
        "std": [0.229, 0.224, 0.225, 0.25][:channels] if channels in (3, 4) else [0.25] * channels,
    }
    preprocessing.update({key: changes.pop(key) for key in list(changes) if key in preprocessing})
    depth, stem_channels = parse_arch(arch)
    description: Dict[str, Any] = {
        "arch": arch,
        "stem": "imagenet",
        "padding": "symmetric",
        "first_group_projection": False,
        "norm": "batch",
        "preprocessing": preprocessing,
        "interpolation": "bicubic",
        "precision": "f32",
        "representation_size": 8 * stem_channels * (1 if depth < 50 else 4),
        "representation": "after global average pooling",
        "training": "random weights of a test",
        "steps": 0,
        "batch_norm_updates": 0,
        **changes,
    }
    network = [description[key] for key in ("stem", "padding", "first_group_projection", "norm")]
    shapes = Architecture(depth, stem_channels, channels, *network).weight_shapes()
    random = np.random.default_rng(seed)
    write_safetensors(
        folder / "encoder.safetensors",
        {name: _drawn(name, shape, random) for name, shape in shapes.items()},
        format="pt",
        byol="architecture and preprocessing are in encoder.json",
    )
    (folder / "encoder.json").write_text(json.dumps(description))
    return folder


def _drawn(name: str, shape: "tuple[int, ...]", random: np.random.Generator) -> np.ndarray:
    """He-normal convolutions, and norms that have seen something."""
    if len(shape) == 4:
        values = random.normal(0, np.sqrt(2 / (shape[1] * shape[2] * shape[3])), shape)
    elif name.endswith("running_var"):
        values = random.uniform(0.5, 2, shape)
    elif name.endswith(".weight"):
        values = random.uniform(0.5, 1.2, shape)
    else:
        values = random.normal(0, 0.2, shape)
    return values.astype("<f4")
