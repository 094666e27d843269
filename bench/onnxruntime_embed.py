"""Inference of a torchvision encoder with ONNX Runtime on this CPU, the other side of `byol bench embed`.

usage: onnxruntime_embed.py ARCH SIZE_PX BATCH ITERATIONS THREADS
Prints one JSON object. What is timed: f32 pictures in memory to features in memory, batch norm in inference mode.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch
import torchvision
from torch import nn

arch, size_px, batch, iterations, threads = sys.argv[1:]
size_px, batch, iterations, threads = int(size_px), int(batch), int(iterations), int(threads)
encoder = getattr(torchvision.models, arch)()
encoder.fc = nn.Identity()
if size_px <= 64:
    encoder.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
encoder.eval()
images = torch.randn(batch, 3, size_px, size_px)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "encoder.onnx"
    torch.onnx.export(encoder, (images,), path, dynamo=False, input_names=["images"], output_names=["features"])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
inputs = {"images": images.numpy()}
for _ in range(2):
    session.run(None, inputs)
seconds = []
for _ in range(iterations):
    start = time.perf_counter()
    session.run(None, inputs)
    seconds.append(time.perf_counter() - start)
median = statistics.median(seconds)
result = {
    "tool": f"ONNX Runtime {onnxruntime.__version__}",
    "images_per_second": batch / median,
    "seconds_median": median,
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}
print(json.dumps(result))
