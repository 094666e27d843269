"""Which sample values are black and white, for encoders trained with `data.value_range`."""

from __future__ import annotations

from typing import Tuple, Union

import numpy as np

_PERCENTILES = (0.005, 0.995)
_FULL = 65_535


def intensities(samples: np.ndarray, value_range: Union[Tuple[float, float], str], all_colours: bool) -> np.ndarray:
    """uint16 intensities `[height, width, channels]`: `(value - low) / (high - low)` of 65535, rounded and clipped.

    The second of two channels and the fourth of four are an alpha, which keeps its share of full, unless `all_colours`.
    """
    channels = samples.shape[2]
    colours = channels - 1 if channels in (2, 4) and not all_colours else channels
    values = samples.astype(np.float64)
    low, high = _measured(values[..., :colours]) if isinstance(value_range, str) else value_range
    out = np.empty(samples.shape, np.uint16)
    scale = _FULL / (high - low) if high > low else 0.0
    with np.errstate(invalid="ignore"):
        out[..., :colours] = _rounded((values[..., :colours] - low) * scale)
    if colours < channels:
        out[..., colours:] = _rounded(values[..., colours:] / np.iinfo(samples.dtype).max * _FULL)
    return out


def _rounded(values: np.ndarray) -> np.ndarray:
    # Half away from zero; what is no number becomes 0.
    return np.clip(np.nan_to_num(np.floor(values + 0.5), nan=0.0, posinf=_FULL, neginf=0.0), 0, _FULL)


def _measured(values: np.ndarray) -> Tuple[float, float]:
    finite = np.sort(values[np.isfinite(values)], axis=None)
    if finite.size == 0:
        return 0.0, 0.0
    low, high = (float(finite[int(np.floor((finite.size - 1) * share + 0.5))]) for share in _PERCENTILES)
    return (low, high) if low < high else (float(finite[0]), float(finite[-1]))
