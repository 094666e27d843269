"""One BYOL training step in PyTorch on this CPU, the other side of `byol bench step`.

usage: pytorch_step.py ARCH SIZE_PX BATCH {f32,bf16} {channels_last,channels_first} ITERATIONS THREADS
Prints one JSON object. What is timed: online network forward and backward and target network forward on two ready-made
views, heads of 4096 and 256, SGD with momentum 0.9 on all tensors at once, target update.
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

arch, size_px, batch, precision, layout, iterations, threads = sys.argv[1:]
size_px, batch, iterations, threads = int(size_px), int(batch), int(iterations), int(threads)
torch.set_num_threads(threads)
torch.manual_seed(0)
memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format


def head(inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 4096), nn.BatchNorm1d(4096), nn.ReLU(inplace=True), nn.Linear(4096, 256, bias=False)
    )


encoder = getattr(torchvision.models, arch)()
size = encoder.fc.in_features
encoder.fc = nn.Identity()
if size_px <= 64:
    encoder.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
online = nn.Sequential(encoder, head(size)).to(memory_format=memory_format)
predictor = head(256)
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
