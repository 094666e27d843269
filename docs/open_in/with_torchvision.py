"""Opens an encoder made by `byol` in torchvision, without renaming a key, and compares it with `byol embed`.

    pip install ./python torch torchvision
    BYOL=target/release/byol python docs/open_in/with_torchvision.py runs/photos PICTURES

ENCODER is a run folder or a `.safetensors` file with its `.json` beside it; PICTURES is a folder. Every ResNet of width 1 is torchvision's own; other widths,
CIFAR stems, projections and "SAME" padding are built of its blocks below. Group norm with standardised weights is not torchvision's.
"""

import sys

import torch
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from agreement import arguments, compare
from byol.architecture import Architecture
from byol.description import read_description
from byol.loading import weights_path
from byol.weights import read_safetensors


def build(architecture: Architecture) -> ResNet:
    """torchvision's ResNet without its classifier."""
    if architecture.norm != "batch":
        sys.exit("torchvision has no ResNet of group norms with standardised weights; use the model of byol.load")
    block = Bottleneck if architecture.is_bottleneck else BasicBlock
    depths = [len(group) for group in architecture.groups()]
    model = ResNet(block, depths)
    model.fc = torch.nn.Identity()
    width = architecture.stem_channels
    kernel, stride = (7, 2) if architecture.stem == "imagenet" else (3, 1)
    if (width, kernel, architecture.input_channels) != (64, 7, 3):
        model.inplanes = width
        model.conv1 = torch.nn.Conv2d(architecture.input_channels, width, kernel, stride, kernel // 2, bias=False)
        model.bn1 = torch.nn.BatchNorm2d(width)
        for group, depth in enumerate(depths):
            layer = model._make_layer(block, width << group, depth, stride=1 if group == 0 else 2)
            setattr(model, f"layer{group + 1}", layer)
    if architecture.stem == "cifar":
        model.maxpool = torch.nn.Identity()
    if architecture.first_group_projection and model.layer1[0].downsample is None:
        projection = torch.nn.Conv2d(width, width, 1, bias=False)
        model.layer1[0].downsample = torch.nn.Sequential(projection, torch.nn.BatchNorm2d(width))
    if architecture.padding == "same":
        pad_same(model)
    return model


def pad_same(model: torch.nn.Module) -> None:
    """TensorFlow's "SAME", which differs from symmetric padding for windows of stride 2: padded before, by what the size needs."""
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
            kernel, stride = (size if isinstance(size, int) else size[0] for size in (module.kernel_size, module.stride))
            if stride == 1:
                continue
            outside = 0.0 if isinstance(module, torch.nn.Conv2d) else float("-inf")
            module.padding = (0, 0) if isinstance(module, torch.nn.Conv2d) else 0

            def pad(_, inputs, kernel=kernel, stride=stride, outside=outside):
                totals = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in inputs[0].shape[-2:]]
                around = [part for total in reversed(totals) for part in (total // 2, total - total // 2)]
                return (torch.nn.functional.pad(inputs[0], around, value=outside),)

            module.register_forward_pre_hook(pad)


def main() -> None:
    encoder, pictures = arguments(__doc__, 2)
    path = weights_path(encoder)
    architecture = read_description(path.with_suffix(".json")).architecture
    model = build(architecture)
    tensors, _ = read_safetensors(path)
    model.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in tensors.items()}, strict=True)
    model.eval()

    @torch.inference_mode()
    def represent(images):
        return model(torch.from_numpy(images)).numpy()

    compare(f"torchvision {torchvision.__version__}", represent, encoder, pictures)


if __name__ == "__main__":
    main()
