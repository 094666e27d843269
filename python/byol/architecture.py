"""Which ResNet: depth and width, padding, and the shapes of all its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd
from typing import Dict, Iterator, List, Tuple

from .errors import EncoderError

# Blocks in each of the four groups, and whether they are bottlenecks.
_DEPTHS: Dict[int, Tuple[Tuple[int, int, int, int], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
    200: ((3, 24, 36, 3), True),
}

#: Added to variances before the square root, in batch norm and group norm.
NORM_EPSILON = 1e-5
#: Added to the variance of weights that are standardised.
WEIGHT_EPSILON = 1e-10
_MOST_GROUPS = 16
_MOST_STEM_CHANNELS = 1024


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias and the norm behind it: weight `[outputs, inputs, kernel, kernel]`."""

    name: str
    norm: str
    inputs: int
    outputs: int
    kernel: int
    stride: int


@dataclass(frozen=True)
class Block:
    """A residual block: convolutions one after the other, and the projection of the shortcut if it has one."""

    name: str
    convolutions: Tuple[Convolution, ...]
    projection: Tuple[Convolution, ...]


@dataclass(frozen=True)
class Architecture:
    """A post-activation ResNet without classifier, as `encoder.json` names it."""

    depth: int
    stem_channels: int
    input_channels: int
    stem: str
    padding: str
    first_group_projection: bool
    norm: str

    @property
    def is_bottleneck(self) -> bool:
        """True of ResNet-50 and deeper."""
        return _DEPTHS[self.depth][1]

    @property
    def representation_size(self) -> int:
        """Size of the representation: 512 · width of basic blocks, 2048 · width of bottlenecks."""
        return 8 * self.stem_channels * (4 if self.is_bottleneck else 1)

    @property
    def stem_convolution(self) -> Convolution:
        """7×7 with stride 2 (`imagenet`, pooling follows) or 3×3 with stride 1 (`cifar`)."""
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        return Convolution("conv1", "bn1", self.input_channels, self.stem_channels, kernel, stride)

    def groups(self) -> List[List[Block]]:
        """The four groups of blocks. The stride is on the 3×3 convolution of a bottleneck."""
        inputs = self.stem_channels
        groups = []
        for group, blocks in enumerate(_DEPTHS[self.depth][0]):
            inner = self.stem_channels << group
            made = []
            for place in range(blocks):
                stride = 2 if group > 0 and place == 0 else 1
                block = self._block(f"layer{group + 1}.{place}", inputs, inner, stride, place == 0)
                inputs = block.convolutions[-1].outputs
                made.append(block)
            groups.append(made)
        return groups

    def _block(self, name: str, inputs: int, inner: int, stride: int, is_first: bool) -> Block:
        outputs = inner * (4 if self.is_bottleneck else 1)
        if self.is_bottleneck:
            shapes = [(inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1)]
        else:
            shapes = [(inputs, inner, 3, stride), (inner, inner, 3, 1)]
        convolutions = tuple(
            Convolution(f"{name}.conv{place}", f"{name}.bn{place}", *shape) for place, shape in enumerate(shapes, 1)
        )
        projects = stride != 1 or inputs != outputs or (is_first and self.first_group_projection)
        projection = Convolution(f"{name}.downsample.0", f"{name}.downsample.1", inputs, outputs, 1, stride)
        return Block(name, convolutions, (projection,) if projects else ())

    def convolutions(self) -> Iterator[Convolution]:
        """Every convolution of the network."""
        yield self.stem_convolution
        for block in (block for group in self.groups() for block in group):
            yield from block.convolutions
            yield from block.projection

    def weight_shapes(self) -> Dict[str, Tuple[int, ...]]:
        """Name → shape of every weight, in torchvision's names, without `num_batches_tracked`."""
        parts = ["weight", "bias"] + (["running_mean", "running_var"] if self.norm == "batch" else [])
        shapes: Dict[str, Tuple[int, ...]] = {}
        for conv in self.convolutions():
            shapes[f"{conv.name}.weight"] = (conv.outputs, conv.inputs, conv.kernel, conv.kernel)
            shapes.update({f"{conv.norm}.{part}": (conv.outputs,) for part in parts})
        return shapes

    def padding_around(self, size: int, kernel: int, stride: int) -> Tuple[int, int]:
        """Pixels before and after an axis of `size` pixels: `kernel // 2` both, or TensorFlow's "SAME"."""
        if self.padding == "symmetric":
            return kernel // 2, kernel // 2
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def norm_groups(channels: int) -> int:
    """Groups of a group norm: 16, or as many as divide both 16 and the channels."""
    return gcd(_MOST_GROUPS, channels)


def parse_arch(text: object) -> Tuple[int, int]:
    """Depth and channels of the stem (64 · width) of `resnet50`, `resnet50x2`, `resnet18x0.25`.

    Raises:
        EncoderError: for another text; widths are multiples of 1/64, at most 16.
    """
    match = re.fullmatch(r"resnet(\d+)(?:x(\d+(?:\.\d+)?))?", text) if isinstance(text, str) else None
    depth, channels = (int(match[1]), float(match[2] or 1) * 64) if match else (0, 0.0)
    if depth not in _DEPTHS or channels != int(channels) or not 1 <= channels <= _MOST_STEM_CHANNELS:
        raise EncoderError(
            f"unknown architecture {text!r}; expected resnet18, 34, 50, 101, 152 or 200, with an optional width "
            "such as x2 or x0.25 (a multiple of 1/64, at most 16)"
        )
    return depth, int(channels)
