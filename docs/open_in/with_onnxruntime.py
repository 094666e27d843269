"""Runs an export in ONNX Runtime and compares it with `byol embed`.

    byol export runs/photos --format onnx -o photos.onnx
    pip install ./python onnxruntime
    BYOL=target/release/byol python docs/open_in/with_onnxruntime.py photos.onnx runs/photos PICTURES

The input is prepared pictures `images`, float32 `[batch, channels, height, width]`; of an export with `--with-preparation` it is `pixels`, uint8
`[1, height, width, channels]`, upright and as large as they are.
"""

import onnxruntime

from agreement import arguments, compare, compare_files, pixels


def main() -> None:
    file, encoder, pictures = arguments(__doc__, 3)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    name = f"ONNX Runtime {onnxruntime.__version__}"
    if session.get_inputs()[0].name == "pixels":
        channels = session.get_inputs()[0].shape[3]

        def of_file(path):
            return session.run(["embedding"], {"pixels": pixels(path, channels)})[0][0]

        compare_files(f"{name}, preparation inside", of_file, encoder, pictures)
        return

    def represent(images):
        return session.run(["embedding"], {"images": images})[0]

    compare(name, represent, encoder, pictures)


if __name__ == "__main__":
    main()
