"""Pictures → the input of the network, to rounding as `byol` itself prepares them (docs/preparation.md)."""

from __future__ import annotations

import math
from typing import Iterable, Tuple

import numpy as np

from .decoding import Picture, samples_of
from .description import Preparation


class Transform:
    """Prepares one picture: `transform(picture)` is `[channels, size, size]` of float32, normalised.

    A picture is a path, the bytes of a file, a Pillow image as it was opened, or an array `[height, width(, channels)]` of 8 or
    16 bits. EXIF orientation is applied here, so do not turn the picture before.
    """

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        # The file's numbers are those of 32 bits that the program computes with.
        self._crop_fraction = float(np.float32(preparation.crop_fraction))
        self._mean = np.array(preparation.mean, np.float32)
        self._scale = np.float32(1) / np.array(preparation.std, np.float32)

    def __call__(self, picture: Picture) -> np.ndarray:
        """Prepares one picture.

        Raises:
            PictureError: for what is no picture, or not one for this encoder.
        """
        samples = samples_of(picture, self.preparation)
        pixels = np.clip(self._resized(samples), np.float32(0), np.float32(1))
        return np.ascontiguousarray(((pixels - self._mean) * self._scale).transpose(2, 0, 1))

    def batch(self, pictures: Iterable[Picture]) -> np.ndarray:
        """Prepares several: `[batch, channels, size, size]`."""
        return np.stack([self(picture) for picture in pictures])

    def __repr__(self) -> str:
        return f"Transform({self.preparation})"

    def _resized(self, samples: np.ndarray) -> np.ndarray:
        size, antialias = self.preparation.size_px, self.preparation.antialias
        height, width = samples.shape[:2]
        if self.preparation.crop_first:
            side = min(max(math.floor(self._crop_fraction * min(height, width)), 1), min(height, width))
            top, left = (height - side + 1) // 2, (width - side + 1) // 2
            samples = samples[top : top + side, left : left + side]
            rows = columns = _axis(side, size, 0, size, antialias)
        else:
            # Python's `round` takes halves to the even number, too.
            shorter = max(round(size / self._crop_fraction), size)
            rows, columns = (
                _axis(length, resized, round((resized - size) / 2), size, antialias)
                for length, resized in ((side, side * shorter // min(height, width)) for side in (height, width))
            )
        full = np.float32(1) / np.float32(np.iinfo(samples.dtype).max)
        by_rows = _resampled(samples, rows[0], rows[1] * full)
        return _resampled(by_rows.transpose(1, 0, 2), *columns).transpose(1, 0, 2)


def _axis(length: int, resized: int, first: int, count: int, antialias: bool) -> Tuple[np.ndarray, np.ndarray]:
    """First input `[count]` and weights `[count, window]` of outputs `first` to `first + count` of an axis."""
    scale = length / resized
    stretch = max(scale, 1.0) if antialias else 1.0
    support = 2.0 * stretch
    window = min(math.ceil(2.0 * support), length)
    centres = (np.arange(first, first + count) + 0.5) * scale
    starts = np.minimum(np.maximum(centres - support + 0.5, 0.0).astype(np.int64), length - window)
    taps = starts[:, None] + np.arange(window)
    weights = _cubic((taps + 0.5 - centres[:, None]) * (1.0 / stretch))
    return starts, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic of Keys (1981) with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _resampled(values: np.ndarray, starts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Resamples the first axis, in float32: output `i` is the sum of `weights[i, tap] · values[starts[i] + tap]`."""
    out = np.zeros((len(starts), *values.shape[1:]), np.float32)
    for tap in range(weights.shape[1]):
        out += weights[:, tap, None, None] * values[starts + tap].astype(np.float32)
    return out
