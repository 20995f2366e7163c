"""Speaking HTTP: uvicorn, with limits on what a request's head may take, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edgeworthy.errors import OptionError
from edgeworthy.web.app import create_app
from edgeworthy.web.service import Service
from edgeworthy.web.settings import Settings

_HEAD_BYTES = 65_536  # of a request line with its headers
_CHUNK_BYTES = 8  # that a chunk of one byte takes at most
_HEAD_S = 15.0  # for a head to arrive on a new connection
_KEEP_S = 30  # for the next request on a connection that is kept
_BACKLOG = 512  # connections that the system holds for the server
_LAME_S = 0.5  # between telling callers that connections end and ending them
_SETTLE_S = 0.3  # for those at the door to be let in: a long way there and back on a network
_TELL_S = 0.05  # for those who are told that there will be no answer
_ARRIVE_S = 2.0  # for a request that is on its way when the door is closed

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux, socket(7)
_NO_BEGINNING = (  # a program of classic BPF, linux/filter.h; a packet begins with its TCP header, RFC 9293
    (0x30, 0, 0, 13),  # BPF_LD | BPF_B | BPF_ABS: the byte of flags
    (0x54, 0, 0, 0x12),  # BPF_ALU | BPF_AND | BPF_K: of them SYN and ACK
    (0x15, 0, 1, 0x02),  # BPF_JMP | BPF_JEQ | BPF_K: SYN alone, with which a connection begins?
    (0x06, 0, 0, 0),  # BPF_RET | BPF_K: take nothing of it
    (0x06, 0, 0, 0xFFFF_FFFF),  # of any other, take all
)


class Protocol(HttpToolsProtocol):
    """As uvicorn's; but a head has to arrive in time, and must not be larger than heads are."""

    def connection_made(self, transport: Any) -> None:
        """Wait for the first head."""
        super().connection_made(transport)
        self._in_head, self._head_bytes, self._messages = True, 0, 0
        self._body_bytes = 0
        self._deadline = self.loop.call_later(_HEAD_S, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the rest of a head that has begun."""
        super().on_message_begin()
        self._messages += 1
        self._in_head, self._head_bytes, self._body_bytes = True, 0, 0
        self._deadline.cancel()
        self._deadline = self.loop.call_later(_HEAD_S, self.timeout_keep_alive_handler)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers say nothing to us."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Count it."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        self._deadline.cancel()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEAD_BYTES:
            raise ValueError("The head of the request is too large.")  # the parser makes a 400 of it
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that was answered early, but not for ever."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:  # else it is the next request's
            self._deadline = self.loop.call_later(_HEAD_S, self.timeout_keep_alive_handler)

    def on_message_complete(self) -> None:
        """The body is there."""
        self._deadline.cancel()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Refuse a head that is not there by now, whatever it consists of."""
        before = self._messages
        super().data_received(data)
        if self._messages in {before, 1}:  # else it begins with the end of another request
            self._head_bytes += len(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > _HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")
        elif self._head_bytes > 2 * _HEAD_BYTES + _CHUNK_BYTES * self._body_bytes:  # trailers without end
            self.transport.abort()

    def shutdown(self) -> None:
        """As uvicorn's; but a request that is on its way on a connection has a moment to arrive."""
        if self._in_head:
            self._deadline.cancel()
            self._deadline = self.loop.call_later(_ARRIVE_S, super().shutdown)
        else:
            super().shutdown()


class Server(uvicorn.Server):
    """As uvicorn's; but stopping tells callers first, so that nobody sends on a connection that ends."""

    def __init__(self, config: uvicorn.Config, service: Service, listener: socket.socket) -> None:
        super().__init__(config)
        self._service, self._listener = service, listener

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully, whichever signal it is; the second one at once."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was taken.

        For a moment, every answer says that its connection ends. Then nobody is let in any more who is not at
        the door already, and those are let in.
        """
        self._service.stopping = True
        await asyncio.sleep(_LAME_S)
        _let_nobody_in(self._listener)
        await asyncio.sleep(_SETTLE_S)
        await super().shutdown(sockets)
        await asyncio.sleep(_TELL_S)


def _let_nobody_in(listener: socket.socket) -> None:
    """What has begun is made and accepted; who comes now hears nothing, until the socket is closed.

    A socket that is closed with connections in its queue would reset them. What has begun has to go on: a
    connection is made by its third packet, and a socket that is made in this moment inherits the program.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_BEGINNING))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET,
            _ATTACH_FILTER,
            struct.pack("HP", len(_NO_BEGINNING), ctypes.addressof(program)),
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address, IPv4 or IPv6.

    Raises:
        OptionError: where it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise OptionError(f"{host} is no address of this machine: {error}.", hint="See --host.") from None
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OptionError(
            f"Nobody can listen on {host}, port {port}: {error.strerror or error}.",
            hint="Give another --port, or 0 for a free one.",
        ) from None
    return listener


def server_of(service: Service, listener: socket.socket) -> Server:
    """A server, whose `run(sockets=[listener])` answers until it is told to stop, and closes the service.

    Args:
        service: what is served.
        listener: of `listen`.
    """
    settings = service.settings
    config = uvicorn.Config(
        create_app(service),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_S,
        timeout_graceful_shutdown=round(settings.grace_s) or 1,
    )
    for talker in ("uvicorn", "python_multipart"):  # of what callers do wrong
        logging.getLogger(talker).setLevel(logging.ERROR)
    return Server(config, service, listener)


def address_of(settings: Settings, listener: socket.socket) -> str:
    """Where a browser finds the page."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{host}:{listener.getsockname()[1]}/"
