"""The plain FastAPI server: one session with default options, and an `async def` or a `def` handler.

python peer_fastapi.py async|def FILE PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, UploadFile
from peer_plain import Model, prepared

app = FastAPI()


def served(handler: str, path: str, port: int) -> None:
    model = Model(path)

    async def on_the_loop(file: UploadFile) -> dict:
        return model.ranked(model.probabilities(prepared(file.file)[None])[0])

    def on_a_thread(file: UploadFile) -> dict:
        return model.ranked(model.probabilities(prepared(file.file)[None])[0])

    # FastAPI looks hints up in the module, where `from __future__ import annotations` leaves them as text
    app.post("/predict")(on_the_loop if handler == "async" else on_a_thread)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    served(sys.argv[1], sys.argv[2], int(sys.argv[3]))
