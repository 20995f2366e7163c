"""Bodies of requests: read within limits of size, time, and what all of them hold together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from edgeworthy.pictures import Picture
from edgeworthy.web.problems import ProblemError, busy

_FORM = "multipart/form-data"
_PATIENCE_S = 10.0  # between two pieces of a body
_LINGER_S = 2.0  # for reading on what is too large, so that its sender gets to the answer
_AGAIN_S = 2.0
_CLOSE = {"Connection": "close"}


class Bodies:
    """Reads bodies, and knows how much of them is held.

    Args:
        held_bytes: of all bodies together, at most.
        timeout_s: for one to arrive.
    """

    def __init__(self, *, held_bytes: int, timeout_s: float) -> None:
        self._most, self._timeout_s = held_bytes, timeout_s
        self.held = 0

    @contextlib.asynccontextmanager
    async def whole(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """A body of at most `limit` bytes, which counts as held meanwhile.

        Raises:
            ProblemError: where it is too large, too slow, or one too many.
        """
        with self._counted() as count:
            pieces = []
            async for piece in self.pieces(request, limit):
                pieces.append(piece)
                count(len(piece))
            yield b"".join(pieces)

    @contextlib.asynccontextmanager
    async def pictures(
        self, request: Request, limit: int, most: int, *, name: str
    ) -> AsyncIterator[list[Picture]]:
        """The files of a form, or the whole body as one picture of a name, which count as held meanwhile.

        Raises:
            ProblemError: as `whole`; or where a form cannot be read, or has none or more than `most` files.
        """
        kind = request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != _FORM:
            async with self.whole(request, limit) as body:
                yield [Picture(name=name, source=body)]
            return
        with self._counted() as count:
            yield await self._of_form(request, limit, most, count)

    async def pieces(
        self, request: Request, limit: int, *, timeout_s: float | None = None
    ) -> AsyncGenerator[bytes]:
        """A body as it arrives.

        Raises:
            ProblemError: where it becomes larger than `limit` bytes, or takes too long.
        """
        coding = request.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise ProblemError(
                "coded-body", f"The body is coded as {coding[:40]!r}.", hint="Send it as it is."
            )
        stream, total = request.stream(), 0
        if _declared(request) > limit:
            await self._refuse(request, stream, limit)
        whole = asyncio.get_running_loop().time() + (timeout_s or self._timeout_s)
        while True:
            try:
                async with asyncio.timeout_at(min(whole, asyncio.get_running_loop().time() + _PATIENCE_S)):
                    piece = await anext(stream, None)
            except TimeoutError:
                raise ProblemError(
                    "slow-body", f"{total} bytes of the body had arrived by then.", headers=_CLOSE
                ) from None
            if piece is None:
                return
            total += len(piece)
            if total > limit:
                await self._refuse(request, stream, limit)
            yield piece

    async def _refuse(self, request: Request, stream: AsyncGenerator[bytes], limit: int) -> None:
        """Whoever still sends may not listen: read on for a while, unless the sender waits for a word."""
        if "expect" not in request.headers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    async for _ in stream:
                        pass
        raise ProblemError("body-too-large", f"At most {limit} bytes are taken.", headers=_CLOSE)

    async def _of_form(
        self, request: Request, limit: int, most: int, count: Callable[[int], None]
    ) -> list[Picture]:
        async def pieces() -> AsyncGenerator[bytes]:
            async for piece in self.pieces(request, limit):
                count(len(piece))
                yield piece
            if not parser.ended:
                raise MultiPartException("it is cut off, its closing boundary is not there.")

        parser = _InMemory(request.headers, pieces(), max_files=most, max_fields=most)
        try:
            form = await parser.parse()
        except (MultiPartException, ValueError, KeyError, LookupError) as error:
            told = getattr(error, "message", "") or "its parts cannot be told apart"
            raise ProblemError("bad-body", f"The form cannot be read: {told[:200]}", headers=_CLOSE) from None
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise ProblemError("bad-body", "The form holds no file.", hint="Send pictures as files.")
        pictures = []
        for index, file in enumerate(files):
            pictures.append(
                Picture(name=_as_it_was(file.filename) or f"picture {index + 1}", source=await file.read())
            )
            await file.close()
        return pictures

    @contextlib.contextmanager
    def _counted(self) -> Iterator[Callable[[int], None]]:
        mine = 0

        def count(more: int) -> None:
            nonlocal mine
            if self.held + more > self._most:
                raise busy(f"Bodies of {self.held} bytes are held already.", _AGAIN_S)
            mine += more
            self.held += more

        try:
            yield count
        finally:
            self.held -= mine


class _InMemory(MultiPartParser):
    """Keeps files in memory, whose size is bounded already."""

    spool_max_size = 2**62
    ended = False

    def on_end(self) -> None:
        """The closing boundary was there."""
        self.ended = True


def _as_it_was(name: str | None) -> str:
    """Of a file in a form, where browsers escape three letters (HTML, "multipart/form-data encoding")."""
    return (name or "").replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0
