"""Reads safetensors files with NumPy alone."""

from __future__ import annotations

import json
import os
from typing import Dict, Tuple

import numpy as np

from .errors import EncoderError

_MAX_HEADER_BYTES = 100_000_000
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


def read_safetensors(path: "str | os.PathLike[str]") -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """All tensors of a safetensors file, floating-point ones as float32, and its metadata.

    Raises:
        EncoderError: when the file is missing, cut short, damaged or holds numbers of another type.
    """

    def damaged(problem: str) -> EncoderError:
        return EncoderError(f"{path}: no whole safetensors file: {problem}; restore it from a copy")

    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
                raise damaged("its header does not end within the file")
            header = file.read(length)
            data = np.fromfile(file, dtype=np.uint8)
    except OSError as error:
        raise EncoderError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__", {})
        tensors = {name: _tensor(data, **entry) for name, entry in entries.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise damaged(str(error)) from error
    used = sum(end - start for start, end in (entry["data_offsets"] for entry in entries.values()))
    if used != len(data):
        raise damaged(f"its tensors take {used} bytes of the {len(data)} behind the header")
    return tensors, metadata


def _tensor(data: np.ndarray, dtype: str, shape: list, data_offsets: list) -> np.ndarray:
    if dtype not in _TYPES:
        raise ValueError(f"numbers of type {dtype}, which are not read (expected {', '.join(_TYPES)})")
    kind = np.dtype(_TYPES[dtype])
    start, end = data_offsets
    count = 1
    for side in shape:
        count *= int(side)
    if not (all(isinstance(side, int) and side >= 0 for side in shape) and 0 <= start <= end <= len(data)):
        raise ValueError("a tensor that does not lie within the file")
    if count * kind.itemsize != end - start:
        raise ValueError(f"a tensor of shape {shape} in {end - start} bytes")
    values = np.frombuffer(data[start:end].tobytes(), kind).reshape(shape)
    if dtype == "BF16":
        # The upper half of a float32.
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if kind.kind == "f" else values
