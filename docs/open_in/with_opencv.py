"""Runs an export in OpenCV's dnn module and compares it with `byol embed`.

    byol export runs/photos --format onnx -o photos.onnx
    pip install ./python opencv-python-headless
    BYOL=target/release/byol python docs/open_in/with_opencv.py photos.onnx runs/photos PICTURES

Prepare pictures with the transform of `byol.load`: `cv2.resize` with INTER_CUBIC is another cubic (a = −3/4), and `imread` gives BGR.
"""

import cv2
import numpy as np

from agreement import arguments, compare


def main() -> None:
    file, encoder, pictures = arguments(__doc__, 3)
    network = cv2.dnn.readNetFromONNX(file)

    def represent(images):
        # One after the other: not every version takes another batch size than the one before.
        rows = []
        for image in images:
            network.setInput(image[None], "images")
            rows.append(np.array(network.forward("embedding")).reshape(-1))
        return np.stack(rows)

    compare(f"OpenCV {cv2.__version__}", represent, encoder, pictures)


if __name__ == "__main__":
    main()
