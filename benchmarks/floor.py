"""How far is `head_only()` from what is needed at least: one decode and one forward pass?

python benchmarks/floor.py --data DIR --weights DIR [--alpha 1.0] [--size 224]
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from measuring import arguments, interleaved, mobilenet, report
from PIL import Image

from tlkit import FineTuneSchedule, transfer_classifier


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    size = options.size
    backbone = mobilenet(options.weights, options.alpha, size)
    files = sorted(options.data.glob("*/*.jpg"))
    pictures: list[npt.NDArray[np.uint8]] = []

    def decode_one(path: Path) -> npt.NDArray[np.uint8]:
        """Do what a careful reader with Pillow does, and no more."""
        with Image.open(path) as image:
            image.draft("RGB", (size, size))
            small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(small)

    def decode() -> None:
        with ThreadPoolExecutor() as pool:
            pictures[:] = pool.map(decode_one, files)

    def forward() -> None:
        """Build the network with plain Keras, trace it once, run it on every picture."""
        base = keras.applications.MobileNetV2(
            alpha=options.alpha,
            include_top=False,
            pooling="avg",
            input_shape=(size, size, 3),
            weights=str(backbone.weights),
        )

        @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)])
        def run(batch: tf.Tensor) -> tf.Tensor:
            return base(tf.cast(batch, tf.float32) / 127.5 - 1, training=False)

        for start in range(0, len(pictures), 32):
            run(np.stack(pictures[start : start + 32])).numpy()

    def head_only() -> None:
        transfer_classifier(options.data, backbone=backbone, schedule=FineTuneSchedule.head_only())

    decode()
    forward()  # so that no side pays for what a process does only once
    seconds = interleaved(
        {"decode": decode, "forward": forward, "head_only()": head_only}, options.repeats
    )
    floor = [sum(pair) for pair in zip(seconds["decode"], seconds["forward"], strict=True)]
    print(f"{len(files)} photographs, alpha {options.alpha}, {size} px, {time.strftime('%F')}")
    report({"floor": floor, **seconds}, baseline="floor", json_path=options.json)


if __name__ == "__main__":
    main()
