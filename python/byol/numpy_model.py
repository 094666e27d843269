"""The encoder in NumPy: slow, and without anything to install."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

import numpy as np

from .architecture import NORM_EPSILON, WEIGHT_EPSILON, Architecture, Block, Convolution, norm_groups
from .errors import PictureError


class NumpyResNet:
    """Prepared pictures `[batch, channels, height, width]` → representations `[batch, size]`, as the model in PyTorch."""

    def __init__(self, architecture: Architecture, weights: Dict[str, np.ndarray]) -> None:
        self.architecture = architecture
        self._layers = {conv.name: self._layer(conv, weights) for conv in architecture.convolutions()}
        self._groups = architecture.groups()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Representations of a batch; pictures pass one after the other, which bounds the memory.

        Raises:
            PictureError: for an array of another shape.
        """
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or images.shape[1] != self.architecture.input_channels or images.shape[0] == 0:
            wanted = f"[batch, {self.architecture.input_channels}, height, width]"
            raise PictureError(f"expected prepared pictures {wanted}, got shape {images.shape}")
        return np.stack([self._represent(image.transpose(1, 2, 0)) for image in images])

    def _layer(self, conv: Convolution, weights: Dict[str, np.ndarray]) -> "_Layer":
        weight = weights[f"{conv.name}.weight"]
        scale, offset = weights[f"{conv.norm}.weight"], weights[f"{conv.norm}.bias"]
        if self.architecture.norm == "group":
            axes = (1, 2, 3)
            centred = weight - weight.mean(axis=axes, keepdims=True)
            deviation = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + np.float32(WEIGHT_EPSILON))
            return _Layer(_as_matrix(centred / deviation), scale, offset)
        scale = scale / np.sqrt(weights[f"{conv.norm}.running_var"] + np.float32(NORM_EPSILON))
        offset = offset - weights[f"{conv.norm}.running_mean"] * scale
        return _Layer(_as_matrix(weight * scale[:, None, None, None]), np.ones_like(scale), offset)

    def _represent(self, x: np.ndarray) -> np.ndarray:
        x = self._after(self.architecture.stem_convolution, x, None, True)
        if self.architecture.stem == "imagenet":
            x = self._windows(x, 3, 2, -np.inf).max(axis=(3, 4))
        for block in (block for group in self._groups for block in group):
            x = self._block(block, x)
        return x.mean(axis=(0, 1))

    def _block(self, block: Block, x: np.ndarray) -> np.ndarray:
        shortcut = x
        for projection in block.projection:
            shortcut = self._after(projection, x, None, False)
        for conv in block.convolutions[:-1]:
            x = self._after(conv, x, None, True)
        return self._after(block.convolutions[-1], x, shortcut, True)

    def _after(self, conv: Convolution, x: np.ndarray, shortcut: Optional[np.ndarray], relu: bool) -> np.ndarray:
        """Convolution and norm, then the shortcut, then ReLU; `[height, width, channels]`."""
        layer = self._layers[conv.name]
        # [height, width, channels, kernel, kernel] → rows of kernel · kernel · channels.
        windows = self._windows(x, conv.kernel, conv.stride, 0.0).transpose(0, 1, 3, 4, 2)
        y = (windows.reshape(-1, layer.weight.shape[0]) @ layer.weight).reshape(*windows.shape[:2], -1)
        if self.architecture.norm == "group":
            y = _by_groups(y) * layer.scale
        y = y + layer.offset
        if shortcut is not None:
            y = y + shortcut
        return np.maximum(y, np.float32(0)) if relu else y

    def _windows(self, x: np.ndarray, kernel: int, stride: int, outside: float) -> np.ndarray:
        around = [self.architecture.padding_around(side, kernel, stride) for side in x.shape[:2]]
        x = np.pad(x, [*around, (0, 0)], constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(0, 1))
        return windows[::stride, ::stride]


class _Layer(NamedTuple):
    """A convolution and its norm. Batch norm is folded into the weight; group norm scales behind its statistics."""

    #: `[kernel · kernel · inputs, outputs]`.
    weight: np.ndarray
    scale: np.ndarray
    offset: np.ndarray


def _as_matrix(weight: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]))


def _by_groups(x: np.ndarray) -> np.ndarray:
    split = x.reshape(*x.shape[:2], norm_groups(x.shape[2]), -1)
    centred = split - split.mean(axis=(0, 1, 3), keepdims=True)
    variance = np.square(centred).mean(axis=(0, 1, 3), keepdims=True)
    return (centred / np.sqrt(variance + np.float32(NORM_EPSILON))).reshape(x.shape)
