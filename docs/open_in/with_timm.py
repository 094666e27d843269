"""Opens an export in timm and compares it with `byol embed`.

    byol export runs/photos --format timm -o photos-timm
    pip install ./python timm
    BYOL=target/release/byol python docs/open_in/with_timm.py photos-timm runs/photos PICTURES

Where `config.json` names `byol_resnet` (CIFAR stems, "SAME" padding, group norm, some widths), timm has no such network and `import byol.timm` adds it.
"""

import json
from pathlib import Path

import timm
import torch

from agreement import arguments, compare


def main() -> None:
    folder, encoder, pictures = arguments(__doc__, 3)
    architecture = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))["architecture"]
    if architecture == "byol_resnet":
        import byol.timm  # noqa: F401
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    # `create_model` itself passes over what is missing or has no place.
    saved = timm.models.load_state_dict(str(Path(folder, "model.safetensors")))
    model.load_state_dict(saved, strict=True)

    @torch.inference_mode()
    def represent(images):
        return model(torch.from_numpy(images)).numpy()

    compare(f"timm {timm.__version__} ({architecture})", represent, encoder, pictures)


if __name__ == "__main__":
    main()
