"""Opens an export in transformers and compares it with `byol embed`.

    byol export runs/photos --format transformers -o photos-transformers
    pip install ./python torch transformers
    BYOL=target/release/byol python docs/open_in/with_transformers.py photos-transformers runs/photos PICTURES

The representation is `pooler_output`. Prepare pictures with the transform of `byol.load`: transformers' own image processors round to 8 bits and resize in another way.
"""

import sys

import torch
import transformers

from agreement import arguments, compare


def main() -> None:
    folder, encoder, pictures = arguments(__doc__, 3)
    model, loading = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    wrong = {key: found for key, found in loading.items() if found}
    if wrong:
        sys.exit(f"{folder}: not loaded strictly: {wrong}")
    model.eval()

    @torch.inference_mode()
    def represent(images):
        return model(pixel_values=torch.from_numpy(images)).pooler_output.flatten(1).numpy()

    compare(f"transformers {transformers.__version__} ({type(model).__name__})", represent, encoder, pictures)


if __name__ == "__main__":
    main()
