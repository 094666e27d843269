"""The encoder in PyTorch: a `torch.nn.Module` with torchvision's parameter names."""

from __future__ import annotations

from typing import Dict, Optional

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import NORM_EPSILON, WEIGHT_EPSILON, Architecture, Block, Convolution, norm_groups


class _Conv2d(nn.Conv2d):
    """A convolution with the padding of the architecture and, before group norms, standardised weights."""

    def __init__(self, architecture: Architecture, conv: Convolution) -> None:
        super().__init__(conv.inputs, conv.outputs, conv.kernel, conv.stride, conv.kernel // 2, bias=False)
        self.architecture = architecture

    def forward(self, x: Tensor) -> Tensor:
        weight, padding = self.weight, self.padding
        if self.architecture.norm == "group":
            centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
            weight = centred / (centred.square().mean(dim=(1, 2, 3), keepdim=True) + WEIGHT_EPSILON).sqrt()
        if self.architecture.padding == "same":
            x, padding = _pad_same(x, self.architecture, self.kernel_size[0], self.stride[0], 0.0), (0, 0)
        return functional.conv2d(x, weight, None, self.stride, padding)


class _MaxPool2d(nn.Module):
    """3×3 with stride 2; what lies outside takes no part."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    def forward(self, x: Tensor) -> Tensor:
        if self.architecture.padding == "symmetric":
            return functional.max_pool2d(x, 3, 2, 1)
        return functional.max_pool2d(_pad_same(x, self.architecture, 3, 2, float("-inf")), 3, 2)


def _pad_same(x: Tensor, architecture: Architecture, kernel: int, stride: int, value: float) -> Tensor:
    top, bottom = architecture.padding_around(x.shape[2], kernel, stride)
    left, right = architecture.padding_around(x.shape[3], kernel, stride)
    return functional.pad(x, (left, right, top, bottom), value=value)


def _norm(architecture: Architecture, channels: int) -> nn.Module:
    if architecture.norm == "group":
        return nn.GroupNorm(norm_groups(channels), channels, eps=NORM_EPSILON)
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON)


class _Block(nn.Module):
    def __init__(self, architecture: Architecture, block: Block) -> None:
        super().__init__()
        self.stages = len(block.convolutions)
        for place, conv in enumerate(block.convolutions, 1):
            self.add_module(f"conv{place}", _Conv2d(architecture, conv))
            self.add_module(f"bn{place}", _norm(architecture, conv.outputs))
        self.downsample: Optional[nn.Module] = None
        for conv in block.projection:
            self.downsample = nn.Sequential(_Conv2d(architecture, conv), _norm(architecture, conv.outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for place in range(1, self.stages + 1):
            x = getattr(self, f"bn{place}")(getattr(self, f"conv{place}")(x))
            x = functional.relu(x + shortcut if place == self.stages else x)
        return x


class ResNet(nn.Module):
    """Prepared pictures `[batch, channels, height, width]` → representations `[batch, size]`, 0 or more."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.conv1 = _Conv2d(architecture, architecture.stem_convolution)
        self.bn1 = _norm(architecture, architecture.stem_channels)
        self.maxpool = _MaxPool2d(architecture) if architecture.stem == "imagenet" else nn.Identity()
        for group, blocks in enumerate(architecture.groups(), 1):
            self.add_module(f"layer{group}", nn.Sequential(*(_Block(architecture, block) for block in blocks)))

    def feature_maps(self, images: Tensor) -> Tensor:
        """What is averaged: `[batch, size, height, width]`."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(images))))
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = group(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        return self.feature_maps(images).mean(dim=(2, 3))


def load(architecture: Architecture, weights: Dict[str, np.ndarray]) -> ResNet:
    """The network with these weights, all of them and no others, in evaluation mode."""
    model = ResNet(architecture)
    state = {name: torch.from_numpy(np.array(values)) for name, values in weights.items()}
    for name, values in model.state_dict().items():
        # Files of other programs may lack it; it takes no part in evaluation.
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, values)
    model.load_state_dict(state, strict=True)
    return model.eval()
