"""Features of torchvision's own ResNets, in evaluation mode and with batch statistics."""

import torch
import torchvision
from torch import nn

import networks
import weights


GRADIENT_BATCH = 4


def encoder(arch: str, stem: str) -> nn.Module:
    model = torchvision.models.get_model(arch, weights=None).double()
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, 1, 1, bias=False).double()
        model.maxpool = nn.Identity()
    model.fc = nn.Identity()
    weights.fill(model, "")
    return model


@torch.no_grad()
def features() -> dict:
    out = {}
    for arch, stem, side_px in [("resnet18", "imagenet", 64), ("resnet50", "imagenet", 64), ("resnet18", "cifar", 32)]:
        model = encoder(arch, stem)
        x = weights.picture("input", 2, side_px)
        out[f"{arch}.{stem}.running"] = model.eval()(x)
        out[f"{arch}.{stem}.batch"] = model.train()(x)
        for mode in ("running", "batch"):
            y = out[f"{arch}.{stem}.{mode}"]
            print(f"features {arch} {stem} {mode}: mean {y.mean():.4f} std {y.std():.4f} max {y.max():.3f}")
    check_own_resnet(out["resnet18.cifar.batch"])
    return out


def gradients(dtype=torch.float64) -> dict:
    """Gradients of <features, fixed numbers> through torchvision's ResNet-50 in training mode: bottlenecks, stem, pooling."""
    model = encoder("resnet50", "imagenet").train().to(dtype)
    y = model(weights.picture("input", GRADIENT_BATCH, 64).to(dtype))
    cotangent = torch.from_numpy(2 * weights.unit("cotangent", y.numel()) - 1).to(dtype).reshape(y.shape)
    (y * cotangent).sum().backward()
    out = {}
    for name, p in model.named_parameters():
        out[f"grad.{name}"] = weights.sample(p.grad)
        out[f"norm.{name}"] = p.grad.norm()
    return out


def check_own_resnet(expected: torch.Tensor) -> None:
    """The ResNet-18 of `networks.py` at full width is torchvision's."""
    own = networks.ResNet18(64).double()
    weights.fill(own, "")
    torch.testing.assert_close(own(weights.picture("input", 2, 32)), expected, rtol=1e-10, atol=1e-10)
