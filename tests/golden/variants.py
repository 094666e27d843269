"""Rebuilds crates/byol/tests/data/variants.safetensors: the reference's ResNets and the paper's variants of norm, loss and predictor.

Padding is TensorFlow's "SAME" by its published formula, written out with F.pad before layers that pad nothing themselves. See README.md.
"""

import pathlib

import torch
import torch.nn.functional as F
from torch import nn

import weights

DATA = pathlib.Path(__file__).resolve().parents[2] / "crates" / "byol" / "tests" / "data"
EPSILON = 1e-5
GROUPS = 16
CHANNELS = 8


def same(x, kernel: int, stride: int, value: float = 0.0):
    """https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2, by the remainder of the size, as it is given there."""
    sides = []
    for size in (x.shape[3], x.shape[2]):  # F.pad begins with the last axis
        total = max(kernel - stride if size % stride == 0 else kernel - size % stride, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides, value=value)


class SameConv(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__(inputs, outputs, kernel, stride, 0, bias=False)

    def forward(self, x):
        return super().forward(same(x, self.kernel_size[0], self.stride[0]))


class BatchNorm(nn.BatchNorm2d):
    """Batch statistics while training, running ones in evaluation."""

    def __init__(self, channels):
        super().__init__(channels, eps=EPSILON, momentum=0.0)


class StandardConv(nn.Conv2d):
    """Weight standardisation, Qiao et al. 2019, symmetric padding."""

    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-10)
        return F.conv2d(x, weight, None, self.stride, self.padding)


def group_norm(channels):
    return nn.GroupNorm(next(g for g in (16, 8, 4, 2, 1) if channels % g == 0 and g <= GROUPS), channels, eps=EPSILON)


class Basic(nn.Module):
    def __init__(self, conv, norm, inputs, inner, stride, projection):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, inner, 3, stride), norm(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, 1), norm(inner)
        self.outputs = inner
        self.downsample = None
        if projection or stride != 1 or inputs != inner:
            self.downsample = nn.Sequential(conv(inputs, inner, 1, stride), norm(inner))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class Bottleneck(nn.Module):
    def __init__(self, conv, norm, inputs, inner, stride, projection):
        super().__init__()
        self.outputs = 4 * inner
        self.conv1, self.bn1 = conv(inputs, inner, 1, 1), norm(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride), norm(inner)
        self.conv3, self.bn3 = conv(inner, self.outputs, 1, 1), norm(self.outputs)
        self.downsample = None
        if projection or stride != 1 or inputs != self.outputs:
            self.downsample = nn.Sequential(conv(inputs, self.outputs, 1, stride), norm(self.outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet(nn.Module):
    def __init__(self, block, blocks, stem, conv, norm, is_same):
        super().__init__()
        self.stem, self.is_same = stem, is_same
        self.conv1 = conv(3, CHANNELS, 7, 2) if stem == "imagenet" else conv(3, CHANNELS, 3, 1)
        self.bn1 = norm(CHANNELS)
        inputs = CHANNELS
        for group, count in enumerate(blocks):
            layers = []
            for index in range(count):
                stride = 2 if group > 0 and index == 0 else 1
                # The reference projects in the first block of every group.
                layers.append(block(conv, norm, inputs, CHANNELS * 2**group, stride, is_same and index == 0))
                inputs = layers[-1].outputs
            setattr(self, f"layer{group + 1}", nn.Sequential(*layers))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.stem == "imagenet":
            x = F.max_pool2d(same(x, 3, 2, -torch.inf), 3, 2) if self.is_same else F.max_pool2d(x, 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def network(name):
    same_network = lambda block, blocks, stem: ResNet(block, blocks, stem, SameConv, BatchNorm, True)
    return {
        "same-resnet18-imagenet": lambda: same_network(Basic, (2, 2, 2, 2), "imagenet"),
        "same-resnet18-cifar": lambda: same_network(Basic, (2, 2, 2, 2), "cifar"),
        "same-resnet50-imagenet": lambda: same_network(Bottleneck, (3, 4, 6, 3), "imagenet"),
        "group-resnet18-cifar": lambda: ResNet(Basic, (2, 2, 2, 2), "cifar", StandardConv, group_norm, False),
    }[name]()


def networks(out):
    for name, sides in [
        ("same-resnet18-imagenet", (64, 75)),
        ("same-resnet18-cifar", (16, 23)),
        ("same-resnet50-imagenet", (64,)),
        ("group-resnet18-cifar", (16,)),
    ]:
        for side_px in sides:
            model = network(name).double()
            weights.fill(model, "")
            x = weights.picture("input", 4, side_px)
            key = f"{name}-{side_px}"
            with torch.no_grad():
                out[f"{key}.running"] = model.eval()(x)
            y = model.train()(x)
            out[f"{key}.batch"] = y
            cotangent = torch.from_numpy(2 * weights.unit("cotangent", y.numel()) - 1).reshape(y.shape)
            (y * cotangent).sum().backward()
            for parameter, p in model.named_parameters():
                out[f"{key}.norm.{parameter}"] = p.grad.norm()
            for parameter in ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"):
                out[f"{key}.grad.{parameter}"] = weights.sample(dict(model.named_parameters())[parameter].grad)
            print(f"{key}: mean {y.mean():.4f} std {y.std():.4f}")


def normalised(x, rule):
    if rule == "l2":
        return F.normalize(x, dim=1)
    if rule == "layer_norm":
        return F.layer_norm(x, x.shape[1:], eps=EPSILON) / x.shape[1] ** 0.5
    if rule == "batch_norm":
        return F.batch_norm(x, None, None, training=True, eps=EPSILON) / x.shape[1] ** 0.5
    return x


def losses(out):
    """Loss and its gradient for each normalisation, and through the closed-form linear predictor."""
    batch, size = 24, 10
    numbers = lambda name: torch.from_numpy(2 * weights.unit(name, batch * size) - 1).reshape(batch, size)
    target = numbers("loss.target")
    for rule in ("l2", "layer_norm", "batch_norm", "none"):
        p = numbers("loss.prediction").requires_grad_()
        loss = (normalised(p, rule) - normalised(target, rule)).square().sum(1).mean()
        loss.backward()
        out[f"loss.{rule}"], out[f"loss.{rule}.gradient"] = loss, p.grad
    z = numbers("loss.prediction").requires_grad_()
    with torch.no_grad():
        ridge = 1e-4 * torch.trace(z.T @ z) / size
        stacked = torch.cat([z, ridge.sqrt() * torch.eye(size, dtype=z.dtype)])
        wanted = torch.cat([normalised(target, "l2"), torch.zeros(size, size, dtype=z.dtype)])
        # Least squares by QR, not by the normal equations of the other side.
        weight = torch.linalg.lstsq(stacked, wanted).solution
    loss = (normalised(z @ weight, "l2") - normalised(target, "l2")).square().sum(1).mean()
    loss.backward()
    out["loss.optimal"], out["loss.optimal.gradient"] = loss, z.grad


def main():
    torch.set_num_threads(1)
    out = {}
    networks(out)
    losses(out)
    weights.save(DATA / "variants.safetensors", out)
    print((DATA / "variants.safetensors").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
