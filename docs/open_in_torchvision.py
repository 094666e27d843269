"""Opens an encoder made by `byol` in torchvision, without renaming a key.

    python docs/open_in_torchvision.py encoder.safetensors encoder.json

Prints the keys it loaded and the mean and spread of the features of a fixed input.
Needs torch, torchvision and safetensors.
"""

import json
import sys

import torch
import torchvision
from safetensors.torch import load_file


def build(arch: str, stem: str) -> torch.nn.Module:
    """torchvision's ResNet without its classifier; the CIFAR stem is a 3x3 convolution, stride 1, and no pool."""
    model = torchvision.models.get_model(arch, weights=None)
    model.fc = torch.nn.Identity()
    if stem == "cifar":
        model.conv1 = torch.nn.Conv2d(3, model.conv1.out_channels, 3, stride=1, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    elif stem != "imagenet":
        sys.exit(f'encoder.json: "stem" must be "imagenet" or "cifar", got "{stem}"')
    return model


def fixed_input(side_px: int) -> torch.Tensor:
    """Two pictures of smooth waves, [2, 3, side, side]."""
    line = torch.linspace(0, 6.28, side_px)
    wave = torch.sin(line[:, None] + 2 * line[None, :])
    return torch.stack([torch.stack([wave * (c + 1) / 3 * sign for c in range(3)]) for sign in (1.0, -1.0)])


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    weights_file, description_file = sys.argv[1:]
    with open(description_file, encoding="utf-8") as file:
        description = json.load(file)
    for key, wanted in (("padding", "symmetric"), ("first_group_projection", False), ("norm", "batch")):
        if description.get(key, wanted) != wanted:
            sys.exit(f'encoder.json: torchvision has only "{key}" = {json.dumps(wanted)}, got {json.dumps(description[key])}')
    model = build(description["arch"], description["stem"])
    state = load_file(weights_file)
    model.load_state_dict(state, strict=True)
    for name, tensor in state.items():
        print(f"{name}  {tuple(tensor.shape)}  {tensor.dtype}")
    model.eval()
    with torch.no_grad():
        features = model(fixed_input(32 if description["stem"] == "cifar" else 224))
    print(f"{len(state)} tensors loaded; features {tuple(features.shape)}: mean {features.mean():.6f} std {features.std():.6f}")


if __name__ == "__main__":
    main()
