"""A server in a thread, and a small client for it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

from edgeworthy.web.classifiers import load
from edgeworthy.web.server import Server, address_of, listen, server_of
from edgeworthy.web.service import Service
from edgeworthy.web.settings import Settings

BOUNDARY = "x-a-boundary-x"


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers (lower case), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A running server, its service and its address."""

    server: Server
    service: Service
    address: str

    @property
    def netloc(self) -> str:
        return urlsplit(self.address).netloc

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.netloc, timeout=60)

    def call(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str | None = None,
        query: Sequence[tuple[str, object]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own; POST where there is a body."""
        connection = self.connect()
        with contextlib.closing(connection):
            target = f"{path}?{urlencode(query)}" if query else path
            connection.request(
                method or ("GET" if body is None else "POST"), target, body, dict(headers or {})
            )
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, told, answer.read())


@contextlib.contextmanager
def serving(*files: Path, jobs: int = 2, fast_decode: bool = False, **settings: Any) -> Iterator[Served]:
    """A server for files on a free port, which has stopped afterwards."""
    told = Settings(**({"port": 0} | settings))
    service = Service(load(files, jobs=jobs, threads=1), told, jobs=jobs, fast_decode=fast_decode)
    with listen(told.host, told.port) as listener:
        server = server_of(service, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        address = address_of(told, listener).rstrip("/")
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Served(server, service, address)
        finally:
            server.should_exit = True
            thread.join(60)
    assert not thread.is_alive()


def picture(width: int = 40, height: int = 30, *, colour: tuple[int, int, int] = (200, 90, 30)) -> bytes:
    """A PNG file of one colour with a darker corner."""
    pixels = np.full((height, width, 3), colour, np.uint8)
    pixels[: height // 3, : width // 3] //= 4
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A multipart body of files, and its headers."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
