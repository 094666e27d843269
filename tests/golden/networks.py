"""Encoder, projector and predictor from plain torch layers, with torchvision's names."""

import torch
import torch.nn.functional as F
from torch import nn

EPSILON = 1e-5  # of batch norm, spec 1.4
DECAY = 0.9  # of the running averages, spec 1.4


class BatchNorm(nn.Module):
    """Normalises with the statistics of the batch at hand; keeps Haiku's debiased running averages beside it.

    Mean and *biased* variance; avg_t = avg_{t-1} + (1 - 0.9) / (1 - 0.9^t) * (batch - avg_{t-1}), which is the
    zero-initialised average divided by 1 - 0.9^t.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.zeros(channels))
        self.updates = 0

    def forward(self, x):
        with torch.no_grad():
            over = [d for d in range(x.dim()) if d != 1]
            self.updates += 1
            rate = (1 - DECAY) / (1 - DECAY**self.updates)
            self.running_mean += rate * (x.mean(over) - self.running_mean)
            self.running_var += rate * (x.var(over, unbiased=False) - self.running_var)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=EPSILON)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet18(nn.Module):
    """torchvision's ResNet-18 without `fc`, with the CIFAR stem (3x3, stride 1, no pool) and any width."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        self.bn1 = BatchNorm(channels)
        inputs = channels
        for group in range(4):
            outputs = channels * 2**group
            stride = 1 if group == 0 else 2
            blocks = nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))
            setattr(self, f"layer{group + 1}", blocks)
            inputs = outputs
        self.features = inputs

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


class Mlp(nn.Module):
    """Projector and predictor, spec 1.3: linear with bias, batch norm, ReLU, linear without bias."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.linear1 = nn.Linear(inputs, hidden)
        self.bn = BatchNorm(hidden)
        self.linear2 = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x):
        return self.linear2(F.relu(self.bn(self.linear1(x))))
