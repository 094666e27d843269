"""One BYOL training step, or inference of the encoder, in PyTorch on a CUDA device, the other side of `byol bench` there.

usage: pytorch_gpu.py {step,embed} ARCH SIZE_PX BATCH HIDDEN/SIZE {f32,tf32,bf16} {eager,compile} ITERATIONS
ARCH is torchvision's name, or that of a ResNet-18 or -34 of another width, like resnet18x0.25. `embed` has no heads, HIDDEN/SIZE
is read and ignored. Prints one JSON object; where memory does not suffice, one with the key `error`.

What `step` times: online network forward and backward and target network forward on two ready-made views, loss, LARS and
target update on all tensors at once. What `embed` times: the encoder in inference mode, from pictures to features. Both leave
out the copy to the device: the views lie there before the clock starts. A picture, of which a step takes two views, counts
once, as in `byol bench`.
"""

import copy
import json
import statistics
import sys
import time

import torch
import torchvision
from torch import nn
from torch.nn import functional

# Compiles, lets cuDNN choose its algorithms and fills the allocator's pool.
WARM_UP = 5
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, TRUST = 0.2, 0.9, 1.5e-6, 0.001
TAU = 0.996


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


def build(arch: str, size_px: int) -> tuple:
    """The encoder and the size of its representation."""
    name, _, width = arch.partition("x")
    if width:
        encoder = Narrow({"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}[name], float(width))
    else:
        encoder = getattr(torchvision.models, name)()
    size = encoder.fc.in_features
    encoder.fc = nn.Identity()
    if size_px <= 64:
        encoder.conv1 = nn.Conv2d(3, encoder.conv1.out_channels, kernel_size=3, padding=1, bias=False)
        encoder.maxpool = nn.Identity()
    return encoder, size


def head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs, bias=False)
    )


def distance(prediction, projection):
    return (2 - 2 * functional.cosine_similarity(prediction.float(), projection.float())).mean()


class Lars:
    """LARS as in BYOL's reference, on all tensors at once: biases, scales and offsets take plain steps with momentum."""

    def __init__(self, parameters: list):
        self.weights = [p for p in parameters if p.ndim > 1]
        self.parameters = self.weights + [p for p in parameters if p.ndim == 1]
        self.momenta = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self):
        gradients = [p.grad for p in self.parameters]
        count = len(self.weights)
        adapted = list(torch._foreach_add(gradients[:count], self.weights, alpha=WEIGHT_DECAY))
        weight_norms = torch.stack(torch._foreach_norm(self.weights))
        norms = torch.stack(torch._foreach_norm(adapted))
        trust = torch.where((weight_norms > 0) & (norms > 0), TRUST * weight_norms / norms, 1.0)
        # The factors stay on the device: to read them would make the host wait for the backward pass.
        torch._foreach_mul_(adapted, list(trust.unbind()))
        torch._foreach_mul_(self.momenta, MOMENTUM)
        torch._foreach_add_(self.momenta, adapted + gradients[count:])
        torch._foreach_add_(self.parameters, self.momenta, alpha=-LEARNING_RATE)


def autocast(precision: str):
    return torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16")


def on_device(module: nn.Module) -> nn.Module:
    return module.to(device="cuda", memory_format=torch.channels_last)


def pictures(batch: int, size_px: int):
    return torch.randn(batch, 3, size_px, size_px, device="cuda").to(memory_format=torch.channels_last)


def training(arch: str, size_px: int, batch: int, heads: str, precision: str, compiled: bool):
    """A function that does one training step."""
    hidden, projection = (int(part) for part in heads.split("/"))
    encoder, size = build(arch, size_px)
    online = on_device(nn.Sequential(encoder, head(size, hidden, projection)))
    predictor = on_device(head(projection, hidden, projection))
    target = copy.deepcopy(online).requires_grad_(False)
    parameters = [*online.parameters(), *predictor.parameters()]
    online_parameters, target_parameters = list(online.parameters()), list(target.parameters())
    optimizer = Lars(parameters)
    views = [pictures(batch, size_px) for _ in range(2)]
    if compiled:
        for network in (online, predictor, target):
            network.compile()

    def step():
        with autocast(precision):
            predictions = [predictor(online(view)) for view in views]
            with torch.no_grad():
                projections = [target(view) for view in views]
            loss = distance(predictions[0], projections[1]) + distance(predictions[1], projections[0])
        for p in parameters:
            p.grad = None
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(target_parameters, online_parameters, 1 - TAU)
        return loss.detach()

    return step


def inference(arch: str, size_px: int, batch: int, precision: str, compiled: bool):
    """A function that encodes one batch."""
    encoder = on_device(build(arch, size_px)[0]).eval()
    images = pictures(batch, size_px)
    if compiled:
        encoder.compile()

    def embed():
        with torch.inference_mode(), autocast(precision):
            return encoder(images).sum(dtype=torch.float32)

    return embed


def measure(mode, arch, size_px, batch, heads, precision, compiled, iterations) -> dict:
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    if mode == "step":
        work = training(arch, size_px, batch, heads, precision, compiled)
    else:
        work = inference(arch, size_px, batch, precision, compiled)
    for _ in range(WARM_UP):
        work().item()
    torch.cuda.synchronize()
    # What cuDNN and the compiler try once is no memory that the work needs.
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(iterations):
        start = time.perf_counter()
        # `byol bench` reads this number in every repetition, too.
        result = work().item()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    report = {
        "images_per_second": batch / median,
        "seconds_per_step": median,
        "peak_memory_bytes": torch.cuda.max_memory_allocated(),
    }
    return report | ({"loss": result} if mode == "step" else {})


def main():
    mode, arch, size_px, batch, heads, precision, compiled, iterations = sys.argv[1:]
    if mode not in ("step", "embed") or precision not in ("f32", "tf32", "bf16") or compiled not in ("eager", "compile"):
        sys.exit(__doc__)
    size_px, batch, iterations = int(size_px), int(batch), int(iterations)
    setting = {"mode": mode, "arch": arch, "size_px": size_px, "batch_size": batch, "precision": precision, "compile": compiled}
    if mode == "step":
        setting |= {"heads": heads, "optimizer": "lars"}
    report = {"tool": f"PyTorch {torch.__version__}", "device": torch.cuda.get_device_name(), "setting": setting}
    try:
        report |= measure(mode, arch, size_px, batch, heads, precision, compiled == "compile", iterations)
    except RuntimeError as error:
        # PyTorch's own class for it does not cover what the libraries below it report.
        if "out of memory" not in str(error):
            raise
        report["error"] = "out of memory"
    print(json.dumps(report))


if __name__ == "__main__":
    main()
