"""One BYOL training step in PyTorch on this CPU, the other side of `byol bench step`.

usage: pytorch_step.py ARCH SIZE_PX BATCH HIDDEN/SIZE {f32,bf16} {channels_last,channels_first} ITERATIONS THREADS
ARCH is torchvision's name, or that of a ResNet-18 or -34 of another width, like resnet18x0.25. Prints one JSON object. What is
timed: online network forward and backward and target network forward on two ready-made views, heads of HIDDEN and SIZE, SGD
with momentum 0.9 on all tensors at once, target update.
"""

import copy
import json
import resource
import statistics
import sys
import time

import torch
import torchvision
from torch import nn
from torch.nn import functional

arch, size_px, batch, heads, precision, layout, iterations, threads = sys.argv[1:]
hidden, projection = (int(part) for part in heads.split("/"))
size_px, batch, iterations, threads = int(size_px), int(batch), int(iterations), int(threads)
torch.set_num_threads(threads)
torch.manual_seed(0)
memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format


def head(inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, projection, bias=False)
    )


class Narrow(torchvision.models.ResNet):
    """A ResNet of basic blocks whose every convolution has `width` times the channels: torchvision offers that for bottlenecks
    only."""

    def __init__(self, blocks: list, width: float):
        self.width = width
        super().__init__(torchvision.models.resnet.BasicBlock, blocks)
        self.conv1 = nn.Conv2d(3, round(64 * width), kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(round(64 * width))
        self.fc = nn.Linear(round(512 * width), 1000)

    def _make_layer(self, block, planes, *arguments, **options):
        if planes == 64:
            self.inplanes = round(64 * self.width)
        return super()._make_layer(block, round(planes * self.width), *arguments, **options)


def build(arch: str) -> nn.Module:
    name, _, width = arch.partition("x")
    if not width:
        return getattr(torchvision.models, name)()
    return Narrow({"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}[name], float(width))


encoder = build(arch)
size = encoder.fc.in_features
encoder.fc = nn.Identity()
if size_px <= 64:
    encoder.conv1 = nn.Conv2d(3, encoder.conv1.out_channels, kernel_size=3, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
online = nn.Sequential(encoder, head(size)).to(memory_format=memory_format)
predictor = head(projection)
target = copy.deepcopy(online).requires_grad_(False)
views = [torch.randn(batch, 3, size_px, size_px).to(memory_format=memory_format) for _ in range(2)]
parameters = [*online.parameters(), *predictor.parameters()]
optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-6, foreach=True)


def distance(prediction, projection):
    return (2 - 2 * functional.cosine_similarity(prediction.float(), projection.float())).mean()


def step() -> float:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        predictions = [predictor(online(view)) for view in views]
        with torch.no_grad():
            projections = [target(view) for view in views]
        loss = distance(predictions[0], projections[1]) + distance(predictions[1], projections[0])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 0.004)
    return loss.item()


for _ in range(2):
    step()
seconds = []
for _ in range(iterations):
    start = time.perf_counter()
    loss = step()
    seconds.append(time.perf_counter() - start)
median = statistics.median(seconds)
result = {
    "tool": f"PyTorch {torch.__version__}",
    "images_per_second": batch / median,
    "seconds_median": median,
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "loss": loss,
}
print(json.dumps(result))
