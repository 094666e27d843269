"""PNG files of 16 bits with colours or alpha, of which Pillow keeps 8."""

from __future__ import annotations

import zlib
from typing import Callable, List, Optional, Tuple

import numpy as np

from .errors import PictureError

#: Channels by PNG's colour types, but for plain grey, which Pillow reads whole.
_CHANNELS = {2: 3, 4: 2, 6: 4}
#: Adam7: first row and column of each pass, and the steps to the next.
_PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def read_deep_png(data: bytes, check_size: Callable[[int, int], None]) -> Optional[np.ndarray]:
    """`[height, width, channels]` of uint16, or `None` for a PNG file that Pillow reads without loss."""
    if len(data) < 33 or data[12:16] != b"IHDR" or data[24] != 16 or data[25] not in _CHANNELS:
        return None
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    check_size(width, height)
    channels, interlaced = _CHANNELS[data[25]], data[28] == 1
    passes = [p for p in _PASSES if p[0] < height and p[1] < width] if interlaced else [(0, 0, 1, 1)]
    shapes = [(-(-(height - top) // down), -(-(width - left) // right)) for top, left, down, right in passes]
    size = sum(rows * (1 + columns * channels * 2) for rows, columns in shapes)
    raw = _inflated(data, size)
    out = np.empty((height, width, channels), np.uint16)
    start = 0
    for (top, left, down, right), (rows, columns) in zip(passes, shapes):
        length = rows * (1 + columns * channels * 2)
        part = _unfiltered(raw[start : start + length], rows, columns * channels * 2, channels * 2)
        out[top::down, left::right] = part.view(">u2").reshape(rows, columns, channels)
        start += length
    return out


def _inflated(data: bytes, size: int) -> bytes:
    parts: List[bytes] = []
    at = 8
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
        at += length + 12
    try:
        # No more than the picture needs is unpacked, whatever the file holds.
        raw = zlib.decompressobj().decompress(b"".join(parts), size)
    except zlib.error as error:
        raise PictureError(f"damaged PNG file: {error}") from error
    if len(raw) != size:
        raise PictureError("PNG file is cut short")
    return raw


def _unfiltered(raw: bytes, rows: int, length: int, step: int) -> np.ndarray:
    lines = np.frombuffer(raw, np.uint8).reshape(rows, length + 1)
    out = np.zeros((rows, length), np.uint8)
    above = np.zeros(length, np.uint8)
    for row in range(rows):
        kind, line = int(lines[row, 0]), lines[row, 1:]
        if kind == 0:
            above = line
        elif kind == 1:
            above = np.cumsum(line.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == 2:
            above = line + above
        elif kind in (3, 4):
            above = _by_neighbours(line, above, step, kind)
        else:
            raise PictureError(f"damaged PNG file: filter {kind}")
        out[row] = above
    return out


def _by_neighbours(line: np.ndarray, above: np.ndarray, step: int, kind: int) -> np.ndarray:
    """Average (3) and Paeth (4), where each byte needs the one before it."""
    up = above.tolist()
    out = line.tolist()
    for at, value in enumerate(out):
        left, corner = (out[at - step], up[at - step]) if at >= step else (0, 0)
        guess = (left + up[at]) >> 1 if kind == 3 else _paeth(left, up[at], corner)
        out[at] = (value + guess) & 255
    return np.array(out, np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    distances: List[Tuple[int, int]] = [(abs(guess - value), value) for value in (left, up, corner)]
    return min(distances, key=lambda pair: pair[0])[1]
