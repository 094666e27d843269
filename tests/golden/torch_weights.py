"""Rebuilds the weights of other programs in crates/byol-nn/tests/data: ResNets of torchvision's classes, saved in every form.

The networks are so narrow (stem of 1 or 2 channels) that files stay small. `torch_representations.safetensors` holds what
PyTorch computes with them in evaluation mode, in float64 from the numbers as they are stored, of the batch of `pictures`.
"""

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import struct
import tarfile
from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet

import weights

DATA = pathlib.Path(__file__).resolve().parents[2] / "crates" / "byol-nn" / "tests" / "data"
BATCH = 2


class Narrow(resnet.ResNet):
    """torchvision's ResNet with `channels` instead of 64; a 3x3 stem has stride 1 and no pooling."""

    def __init__(self, block, layers, channels, inputs=3, kernel=7):
        super().__init__(block, [1, 1, 1, 1], num_classes=1)
        self.inplanes = channels
        imagenet = kernel == 7
        self.conv1 = nn.Conv2d(inputs, channels, kernel, 2 if imagenet else 1, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = self.maxpool if imagenet else nn.Identity()
        self.layer1 = self._make_layer(block, channels, layers[0])
        self.layer2 = self._make_layer(block, 2 * channels, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * channels, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * channels, layers[3], stride=2)
        self.fc = nn.Linear(8 * channels * block.expansion, 3)


def pictures(channels, side_px):
    """[2, channels, side, side]; value i of the order [picture, row, column, channel] is (7919 i mod 1009) / 504 - 1."""
    values = (torch.arange(BATCH * side_px * side_px * channels) * 7919 % 1009).double() / 504 - 1
    return values.reshape(BATCH, side_px, side_px, channels).permute(0, 3, 1, 2)


def network(name, *arguments, dtype=torch.float32, **options):
    """A filled network, with what it computes once its numbers have been rounded to `dtype`."""
    model = Narrow(*arguments, **options)
    weights.fill(model, name + ".")
    model.to(dtype).eval()
    exact = Narrow(*arguments, **options).double().eval()
    exact.load_state_dict(model.state_dict())
    exact.fc = nn.Identity()
    side_px = 64 if exact.conv1.kernel_size == (7, 7) else 32
    with torch.no_grad():
        return model, exact(pictures(exact.conv1.in_channels, side_px))


def in_one_storage(state):
    """The same tensors as views of one storage with gaps; those with more than one axis have its strides reversed."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    first = next(iter(floats.values()))
    flat = torch.zeros(sum(tensor.numel() + 3 for tensor in floats.values()), dtype=first.dtype)
    views, offset = OrderedDict(), 0
    for name, tensor in floats.items():
        offset += 3
        axes = tuple(reversed(range(tensor.dim())))
        view = flat[offset : offset + tensor.numel()].view(tensor.permute(axes).shape).permute(axes)
        view.copy_(tensor)
        views[name] = view
        offset += tensor.numel()
    return views


class InTar:
    """Stands for a tensor of the tar form."""

    def __init__(self, key):
        self.key = key


class TarPickler(pickle.Pickler):
    def persistent_id(self, obj):
        return str(obj.key) if isinstance(obj, InTar) else None


def save_tar(state, path):
    """The form before PyTorch 0.1.10, after its reader in torch/serialization.py, for float32 tensors."""
    floats = [(name, tensor.contiguous()) for name, tensor in state.items() if tensor.dtype == torch.float32]
    storages, tensors = io.BytesIO(), io.BytesIO()
    for file in (storages, tensors):
        pickle.dump(len(floats), file, protocol=2)
    for key, (_, tensor) in enumerate(floats):
        pickle.dump((1000 + key, "cpu", torch.FloatStorage), storages, protocol=2)
        storages.write(struct.pack("<q", tensor.numel()) + tensor.numpy().astype("<f4").tobytes())
        pickle.dump((2000 + key, 1000 + key, torch.FloatTensor), tensors, protocol=2)
        sizes = [*tensor.shape, *tensor.stride(), 0]
        tensors.write(struct.pack(f"<i4x{len(sizes)}q", tensor.dim(), *sizes))
    pickle.dump([], storages, protocol=2)
    main = io.BytesIO()
    TarPickler(main, protocol=2).dump(OrderedDict((name, InTar(2000 + key)) for key, (name, _) in enumerate(floats)))
    system = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    entries = [("sys_info", pickle.dumps(system, protocol=2)), ("pickle", main.getvalue())]
    entries += [("tensors", tensors.getvalue()), ("storages", storages.getvalue())]
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    again = torch.load(path, weights_only=False)
    assert all(torch.equal(again[name], tensor) for name, tensor in floats)


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def in_places(model, children):
    """The state dict of `children` of a network, by name, as a Sequential numbers them."""
    return nn.Sequential(*[getattr(model, name) for name in children]).state_dict()


def moved(state):
    """A momentum copy, which is another network."""
    return {name: tensor + 1 for name, tensor in state.items()}


def main():
    torch.set_num_threads(1)
    representations = {}
    basic, bottleneck = resnet.BasicBlock, resnet.Bottleneck

    def save(name, content, representation, **options):
        torch.save(content, DATA / name, **options)
        representations[name] = representation

    model, y = network("torch_zip.pth", basic, [2, 2, 2, 2], 2)
    save("torch_zip.pth", model.state_dict(), y)

    # Before PyTorch 1.6; a training checkpoint of DistributedDataParallel.
    name = "torch_legacy_ddp.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoint = {"epoch": 3, "arch": "resnet18", "state_dict": prefixed("module.", model.state_dict())}
    save(name, {**checkpoint, "optimizer": optimiser.state_dict()}, y, _use_new_zipfile_serialization=False)

    # As MoCo saves: two networks, of which the momentum copy is other; half precision.
    name = "torch_moco_f16.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 1, dtype=torch.float16)
    copy = {key: tensor + 1 for key, tensor in model.state_dict().items()}
    both = {**prefixed("module.encoder_q.", model.state_dict()), **prefixed("module.encoder_k.", copy)}
    both["module.queue"] = torch.zeros(4, 4)
    save(name, {"epoch": 1, "state_dict": both}, y, _use_new_zipfile_serialization=False)

    # Views of one storage; ResNet-50, 3x3 stem, one channel, bfloat16.
    name = "torch_views_bf16.pth"
    model, y = network(name, bottleneck, [3, 4, 6, 3], 1, inputs=1, kernel=3, dtype=torch.bfloat16)
    save(name, {"model_state_dict": in_one_storage(model.state_dict())}, y)

    # As lucidrains' byol-pytorch: the network by itself and again, the same tensors, in its wrapper; float64.
    name = "torch_wrapper_f64.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 1, dtype=torch.float64)
    state = in_one_storage(model.state_dict())
    target = {key: tensor + 1 for key, tensor in model.state_dict().items()}
    target = prefixed("target_encoder.net.", in_one_storage(target))
    save(name, {**prefixed("net.", state), **prefixed("online_encoder.net.", state), **target}, y)

    # As lightly saves: a Sequential of torchvision's children and its momentum copy, beside settings of many classes.
    name = "torch_lightly_f16.ckpt"
    model, y = network(name, basic, [2, 2, 2, 2], 1, dtype=torch.float16)
    torchvisions = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"]
    state = in_places(model, torchvisions)
    both = {**prefixed("backbone.", state), **prefixed("backbone_momentum.", moved(state))}
    both["projection_head.layers.0.weight"] = torch.zeros(4, 8)
    settings = {
        "counts": collections.defaultdict(int, train=3),
        "losses": collections.deque([0.5, 0.25], maxlen=5),
        "arguments": argparse.Namespace(lr=0.1, gpus=[0]),
        "best": np.float32(0.5),
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "random": np.arange(3),
    }
    checkpoint = {"epoch": 3, "state_dict": in_one_storage(both), "hyper_parameters": settings}
    save(name, checkpoint, y)

    # As DINO saves: student in a wrapper, teacher without.
    name = "torch_dino_f16.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 1, dtype=torch.float16)
    state = model.state_dict()
    student = in_one_storage(prefixed("module.backbone.", state))
    save(name, {"student": student, "teacher": in_one_storage(prefixed("backbone.", moved(state)))}, y)

    # As for CIFAR: groups right after the norm, and a shortcut by another name.
    name = "torch_cifar_places_f16.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 1, kernel=3, dtype=torch.float16)
    state = in_places(model, ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"])
    state = {key.replace("downsample", "shortcut"): tensor for key, tensor in state.items()}
    save(name, in_one_storage(prefixed("f.", state)), y)

    # The root of the archive is the stem of the file.
    name = "torch_stem_21_letters.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 1, dtype=torch.float16)
    save(name, in_one_storage(model.state_dict()), y)

    name = "torch_tar.pth"
    model, y = network(name, basic, [2, 2, 2, 2], 1, kernel=3)
    save_tar(model.state_dict(), DATA / name)
    representations[name] = y

    weights.save(DATA / "torch_representations.safetensors", representations)
    for path in sorted(DATA.glob("torch_*")):
        print(f"{path.stat().st_size:8d} {path.name}")


if __name__ == "__main__":
    main()
