"""Weights and inputs that both sides can write, and the shape in which results are stored.

A value is a function of (name, flat index) alone, so no weights are shipped:
FNV-1a-64 of the UTF-8 name seeds SplitMix64, the i-th output gives u = bits >> 40 over 2^24 in [0, 1).
Values are computed in float64 and rounded once to float32; the computations start from those float32 numbers.
"""

import math

import numpy as np
import torch
from safetensors.numpy import save_file

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SAMPLE = 512


def fnv1a64(name: str) -> int:
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def unit(name: str, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), 24 bits each, in float64."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**24


def parameter(name: str, shape) -> torch.Tensor:
    """The value of a parameter or buffer, float64 holding float32 numbers; torchvision layout, row-major."""
    shape = tuple(shape)
    u = unit(name, math.prod(shape))
    leaf = name.rsplit(".", 1)[-1]
    module = name.rsplit(".", 2)[-2]
    if len(shape) >= 2:
        value = (2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))
    elif leaf in ("bias", "running_mean"):  # of a batch norm or a linear layer
        value = (2 * u - 1) * 0.1
    elif leaf in ("weight", "running_var"):  # of a batch norm
        value = 0.5 + u
    else:
        raise ValueError(f"no fill rule for {name} (module {module}) of shape {shape}")
    return torch.from_numpy(value.astype(np.float32).astype(np.float64)).reshape(shape)


def picture(name: str, batch: int, side_px: int) -> torch.Tensor:
    """An input batch, filled in the order [batch, height, width, 3], returned as [batch, 3, height, width]."""
    shape = (batch, side_px, side_px, 3)
    value = (2 * unit(name, math.prod(shape)) - 1) * math.sqrt(3)
    nhwc = torch.from_numpy(value.astype(np.float32).astype(np.float64)).reshape(shape)
    return nhwc.permute(0, 3, 1, 2).contiguous()


def fill(module: torch.nn.Module, prefix: str) -> None:
    """Writes every parameter and floating-point buffer of `module`, named `prefix` + its name in the module."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(parameter(prefix + name, tensor.shape))


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """All elements, or every ceil(n / 512)-th one of the flattened tensor, so that at most 512 remain."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, math.ceil(flat.numel() / SAMPLE))]


def save(path, tensors: dict) -> None:
    """Writes float32 of what was computed in float64."""
    arrays = {}
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(torch.as_tensor(tensor).detach().double().numpy())
        assert np.isfinite(array).all(), name
        arrays[name] = array.astype(np.float32).reshape(array.shape or (1,))
    save_file(arrays, path)


def fill_examples() -> list:
    """Values for a test of the other side's fill: name, shape, flat index, value."""
    cases = [
        ("layer1.0.conv1.weight", (64, 64, 3, 3), [0, 1, 36863]),
        ("bn1.weight", (64,), [0]),
        ("bn1.bias", (64,), [63]),
        ("bn1.running_mean", (64,), [1]),
        ("bn1.running_var", (64,), [1]),
        ("online.projector.linear1.weight", (32, 64), [2047]),
        ("online.projector.linear1.bias", (32,), [31]),
    ]
    rows = [
        {"name": name, "shape": list(shape), "index": i, "value": float(parameter(name, shape).reshape(-1)[i])}
        for name, shape, indices in cases
        for i in indices
    ]
    nhwc = picture("input", 2, 64).permute(0, 2, 3, 1).reshape(-1)
    return rows + [{"name": "input", "shape": [2, 64, 64, 3], "index": i, "value": float(nhwc[i])} for i in (0, 24575)]
