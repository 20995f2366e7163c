"""A small HTTP/1.1 client on raw sockets that tells exactly what became of a request.

It costs little processor time beside the server that it measures, reads an answer while it still sends, as a
server may refuse a body early, and tells a connection that was refused from one that ended without a byte,
in mid-answer, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum

HOST = "127.0.0.1"
_AT_ONCE = 1 << 16  # bytes to read

Pieces = Callable[[], AsyncIterator[bytes]]  # of a request that is not sent in one go


class Fate(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"  # wholly
    REFUSED = "refused"  # nobody took the connection
    DROPPED = "dropped"  # the connection ended without a byte of an answer
    CUT = "cut"  # it ended in mid-answer
    LATE = "late"  # no answer in the time allowed
    LEFT = "left"  # by us, on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request's fate; times are of the monotonic clock, `sent` is None where it was not sent wholly."""

    fate: Fate
    began: float
    sent: float | None
    ended: float
    answer: Answer | None = None

    @property
    def status(self) -> int:
        return self.answer.status if self.answer else 0


class _EndedError(Exception):
    """The server has closed the connection."""


class Connection:
    """A keep-alive connection, opened when it is needed, and again after the server has closed it."""

    def __init__(self, port: int, *, patience_s: float = 60.0) -> None:
        self._port, self._patience_s = port, patience_s
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._heard = False  # anything of the answer that is waited for

    async def ask(self, request: bytes | Pieces) -> Exchange:
        """Send a request and read its answer, or learn that there is none."""
        began = time.monotonic()
        if not await self._opened():
            return Exchange(fate=Fate.REFUSED, began=began, sent=None, ended=time.monotonic())
        self._heard = False
        rest = self._at_once(request)
        sent, sending = time.monotonic(), asyncio.create_task(self._send(rest)) if rest else None
        answer, fate = None, Fate.ANSWERED
        try:
            async with asyncio.timeout(self._patience_s):
                answer = await self._answer()
        except TimeoutError:
            fate = Fate.LATE
        except _EndedError:
            fate = Fate.CUT if self._heard else Fate.DROPPED
        ended = time.monotonic()
        whole = await _finished(sending) if sending else sent
        if answer is None or whole is None or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return Exchange(fate=fate, began=began, sent=whole, ended=ended, answer=answer)

    async def leave(self, request: bytes | Pieces) -> Exchange:
        """Send a request, or a part of one, and hang up without reading; the server sees a reset."""
        began = time.monotonic()
        if not await self._opened():
            return Exchange(fate=Fate.REFUSED, began=began, sent=None, ended=time.monotonic())
        sent = await self._send(request)
        if self._socket:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        return Exchange(fate=Fate.LEFT, began=began, sent=sent, ended=time.monotonic())

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self._buffer.clear()

    async def _opened(self) -> bool:
        if self._socket and _stale(self._socket):
            self.close()
        if self._socket:
            return True
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(one, (HOST, self._port))
        except OSError:
            one.close()
            return False
        self._socket = one
        return True

    def _at_once(self, request: bytes | Pieces) -> bytes | Pieces:
        """What the system does not take without waiting; most requests it takes wholly."""
        if not self._socket or not isinstance(request, bytes):
            return request
        try:
            return request[self._socket.send(request) :]
        except OSError:  # it is full, or closed, which the next attempt will tell
            return request

    async def _send(self, request: bytes | Pieces) -> float | None:
        """When the last byte went out; None where the server would not have them all."""
        if not self._socket:
            return None
        loop = asyncio.get_running_loop()
        try:
            if isinstance(request, bytes):
                await loop.sock_sendall(self._socket, request)
            else:
                async for piece in request():
                    await loop.sock_sendall(self._socket, piece)
        except OSError:
            return None
        return time.monotonic()

    async def _answer(self) -> Answer:
        status, headers = 100, {}
        while status < 200:  # "100 Continue" comes before the answer
            head = await self._until(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            status = int(first.split(" ", 2)[1])
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._chunks()
        else:
            body = await self._exactly(int(headers.get("content-length", 0)))
        return Answer(status=status, headers=headers, body=body)

    async def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(await self._until(b"\r\n"), 16):
            body += await self._exactly(size)
            await self._exactly(2)
        await self._until(b"\r\n")
        return bytes(body)

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            await self._more()
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def _more(self) -> None:
        if not self._socket:
            raise _EndedError
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _AT_ONCE)
        except OSError:
            data = b""
        if not data:
            raise _EndedError
        self._heard = True
        self._buffer += data


async def _finished(sending: asyncio.Task[float | None]) -> float | None:
    """What the task says if it is through; it is stopped if not."""
    if not sending.done():
        await asyncio.sleep(0)  # both may have become ready at once
    if not sending.done():
        sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await sending
    return None


def _stale(one: socket.socket) -> bool:
    """Whether the server has closed a connection that waits."""
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def posted(path: str, body: bytes, content_type: str, *headers: str) -> bytes:
    """A whole request in one go."""
    return (
        head("POST", path, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers) + body
    )


def head(method: str, path: str, *headers: str) -> bytes:
    """A request's lines up to its body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def multipart(pictures: list[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A form with one file for each (name, content), and its content type."""
    boundary = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    body = bytearray()
    for name, content in pictures:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode()
        body += b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f"multipart/form-data; boundary={boundary}"
