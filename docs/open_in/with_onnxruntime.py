"""Runs an export in ONNX Runtime and compares it with `byol embed`.

    byol export runs/photos --format onnx -o photos.onnx
    pip install ./python onnxruntime
    BYOL=target/release/byol python docs/open_in/with_onnxruntime.py photos.onnx runs/photos PICTURES

The input is prepared pictures `images`, float32 `[batch, channels, height, width]`.
"""

import onnxruntime

from agreement import arguments, compare


def main() -> None:
    file, encoder, pictures = arguments(__doc__, 3)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def represent(images):
        return session.run(["embedding"], {"images": images})[0]

    compare(f"ONNX Runtime {onnxruntime.__version__}", represent, encoder, pictures)


if __name__ == "__main__":
    main()
