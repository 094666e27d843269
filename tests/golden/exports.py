"""Names and shapes of every tensor of the networks that exported encoders are opened as, from the libraries themselves.

usage: exports.py [FOLDER]; writes names.json to FOLDER [default: crates/byol-export/tests/data]
"""

import json
import sys
from pathlib import Path

import timm
import torchvision
from transformers import ResNetConfig, ResNetModel

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "crates/byol-export/tests/data"


def names(model) -> dict:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def without_classifier(model) -> dict:
    return {name: shape for name, shape in names(model).items() if not name.startswith("fc.")}


def timm_v2(stem: int) -> dict:
    channels = [4 * stem, 8 * stem, 16 * stem, 32 * stem]
    arguments = {"layers": [3, 4, 6, 3], "channels": channels, "stem_chs": stem, "preact": False, "num_classes": 0}
    return names(timm.create_model("resnetv2_50", **arguments))


def transformers_model(stem: int, expansion: int, depths: list, layer_type: str) -> dict:
    sizes = [stem * expansion * times for times in (1, 2, 4, 8)]
    return names(ResNetModel(ResNetConfig(embedding_size=stem, hidden_sizes=sizes, depths=depths, layer_type=layer_type)))


def main():
    found = {
        "torchvision resnet18": without_classifier(torchvision.models.resnet18()),
        "torchvision resnet50": without_classifier(torchvision.models.resnet50()),
        "timm resnet18": names(timm.create_model("resnet18", num_classes=0)),
        "timm resnet18x0.125": names(timm.create_model("resnet18", num_classes=0, channels=[8, 16, 32, 64])),
        # The narrowest whose deep stem has room for a 7×7 convolution: of pictures of one channel.
        "timm resnet18x1.0625 grey": names(timm.create_model("resnet18", in_chans=1, num_classes=0, channels=[68, 136, 272, 544], stem_type="deep", stem_width=34)),
        "timm resnet50x0.125": timm_v2(8),
        "transformers resnet18x0.125": transformers_model(8, 1, [2, 2, 2, 2], "basic"),
        "transformers resnet50x0.125": transformers_model(8, 4, [3, 4, 6, 3], "bottleneck"),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines = (f"  {json.dumps(case)}: {json.dumps(tensors)}" for case, tensors in found.items())
    (FOLDER / "names.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
