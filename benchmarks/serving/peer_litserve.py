"""The LitServe server: a worker a core, each with a session on one thread; it batches where BATCH is above 1.

python peer_litserve.py BATCH WORKERS FILE PORT
"""

import sys
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Request
from peer_plain import Model, prepared

WAIT_S = 0.01  # for a batch to fill


class Classifier(ls.LitAPI):
    """One picture a request."""

    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._path = path

    def setup(self, device: str) -> None:
        self._model = Model(self._path, threads=1)

    def decode_request(self, request: Request) -> np.ndarray:
        return prepared(request["file"].file)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._model.probabilities(x) if x.ndim == 4 else self._model.probabilities(x[None])[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return self._model.ranked(output)


if __name__ == "__main__":
    batch, workers, path, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    batching = {"max_batch_size": batch, "batch_timeout": WAIT_S} if batch > 1 else {}
    server = ls.LitServer(Classifier(path, **batching), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
