"""What a server is told: where it listens, and how much it takes."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from dataclasses import dataclass

from edgeworthy.errors import OptionError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_NAME = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+", re.IGNORECASE)  # of a host, or an IPv6 address

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one server.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        api_key: that callers must show; None lets everybody in.
        hosts: further names that it may be called by.
        allow_upload: whether model files may be sent to be checked and repaired.
        body_bytes: of a request, at most.
        upload_bytes: of a model file, at most.
        pixels: of a picture, at most; a larger one is not decoded.
        pictures: in one request, at most.
        queue: requests that may wait for a session; the next is told to come back (429).
        timeout_s: for a body to arrive, and for its answer to be made.
        grace_s: for what was taken to be answered after SIGTERM.

    Raises:
        OptionError: on a value that is no limit.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    hosts: tuple[str, ...] = ()
    allow_upload: bool = False
    body_bytes: int = 32 * _MIB
    upload_bytes: int = 256 * _MIB
    pixels: int = 64_000_000
    pictures: int = 64
    queue: int = 64
    timeout_s: float = 30.0
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("body_bytes", "upload_bytes", "pixels", "pictures", "timeout_s", "grace_s"):
            if not 0 < getattr(self, name) < math.inf:  # nor is it NaN
                raise OptionError(f"{name}={getattr(self, name)} is no number above zero.")
        for name in self.hosts:
            if not _NAME.fullmatch(name):
                raise OptionError(f"{name!r} is no host's name.", hint="Give it without http:// and port.")
        if self.queue < 0:
            raise OptionError(f"queue={self.queue} is below zero.", hint="0 lets nobody wait.")
        if not 0 <= self.port <= 65535:
            raise OptionError(f"port={self.port} is no port.", hint="Give 1 to 65535, or 0 for a free one.")
        if self.api_key is not None and (len(self.api_key) < 8 or not self.api_key.isascii()):
            raise OptionError("The API key is not 8 or more ASCII characters.", hint="Take a longer one.")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call it."""
        name = self.host.lower()
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(name).is_loopback
        return name in LOOPBACK

    @property
    def held_bytes(self) -> int:
        """What all bodies together may hold: a few of the largest, or hundreds of photographs."""
        return 8 * self.body_bytes
