"""What a person writes around ONNX Runtime by hand: a picture's bytes in, the best five classes out."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import onnxruntime as ort
from PIL import Image

SIDE, RESIZED = 224, 256
MEAN = STD = 127.5
BEST = 5


def prepared(file: BinaryIO) -> np.ndarray:
    """Decode, resize, crop and normalise, as EfficientNet-Lite0 was trained: [3, 224, 224]."""
    picture = Image.open(file).convert("RGB")
    scale = RESIZED / min(picture.size)
    picture = picture.resize(
        (int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = round((picture.width - SIDE) / 2), round((picture.height - SIDE) / 2)
    pixels = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)), np.float32)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))


class Model:
    """A session, and what its classes are called."""

    def __init__(self, path: str, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads  # 0 is ONNX Runtime's default: all cores
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._port = self._session.get_inputs()[0].name
        self._names = self._session.get_outputs()[0].name.split("-", 1)[1].split(";")

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._port: batch})[0]

    def ranked(self, scores: np.ndarray) -> dict[str, Any]:
        best = np.argsort(-scores)[:BEST]
        return {
            "scores": [
                {"class_id": int(i), "name": self._names[i], "probability": float(scores[i])} for i in best
            ]
        }
