"""Model files that somebody has sent, until they fetch them, or others take their place."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeworthy.web.problems import ProblemError, busy

_KEPT = 8
_AT_ONCE = 2
_SUFFIX = ".onnx"


@dataclass(slots=True, kw_only=True)
class Upload:
    """A model file.

    Attributes:
        id: what only its sender knows.
        name: as its sender calls it.
        path: where it lies.
        repaired: whether it is no longer what was sent.
        busy: whether it is being worked on.
    """

    id: str
    name: str
    path: Path
    repaired: bool = False
    busy: bool = False

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.path.stat().st_size

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else works on it meanwhile, or takes it away.

        Raises:
            ProblemError: where somebody does already.
        """
        if self.busy:
            raise ProblemError(
                "upload-in-use", f"{self.name} is being worked on.", hint="Wait for the answer."
            )
        self.busy = True
        try:
            yield
        finally:
            self.busy = False


class Uploads:
    """The last few files, each in a folder of its own below one that goes with the server."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="edgeworthy-uploads-")
        self._kept: dict[str, Upload] = {}
        self._arriving = 0

    async def receive(self, name: str, pieces: AsyncIterator[bytes]) -> Upload:
        """A file as it has arrived, which `trial` keeps.

        Raises:
            ProblemError: where too many arrive at once, or the body is refused.
        """
        if self._arriving >= _AT_ONCE:
            raise busy(f"{self._arriving} model files are arriving already.", 5)
        ident = secrets.token_urlsafe(16)
        folder = Path(self._home.name) / ident
        upload = Upload(id=ident, name=_plain_name(name), path=folder / f"model{_SUFFIX}")
        self._arriving += 1
        try:
            folder.mkdir()
            with upload.path.open("wb") as stream:
                async for piece in pieces:
                    stream.write(piece)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._arriving -= 1
        return upload

    @contextlib.asynccontextmanager
    async def trial(self, upload: Upload) -> AsyncIterator[None]:
        """The file is kept if the block ends well.

        Raises:
            ProblemError: where all that are kept are being worked on.
        """
        try:
            yield
            self._make_room()
        except BaseException:
            self.forget(upload)
            raise
        self._kept[upload.id] = upload

    def find(self, ident: str) -> Upload:
        """The file of an id.

        Raises:
            ProblemError: where there is none.
        """
        if ident not in self._kept:
            raise ProblemError(
                "no-such-upload",
                f"There is no file {ident[:40]!r}.",
                hint=f"The last {_KEPT} files are kept: send it again.",
            )
        upload = self._kept[ident] = self._kept.pop(ident)  # the latest that was asked for is the last
        return upload

    def forget(self, upload: Upload) -> None:
        """Take a file away."""
        self._kept.pop(upload.id, None)
        shutil.rmtree(upload.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Take all away."""
        self._home.cleanup()

    def _make_room(self) -> None:
        for upload in list(self._kept.values()):
            if len(self._kept) < _KEPT:
                return
            if not upload.busy:
                self.forget(upload)
        if len(self._kept) >= _KEPT:
            raise busy(f"{len(self._kept)} model files are being worked on.", 10)


def _plain_name(name: str) -> str:
    """The last part of a path, without what ends a header or hides a letter; never empty."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem = "".join(letter for letter in last if letter.isprintable())[:120].removesuffix(_SUFFIX)
    return f"{stem.strip('. ') or 'model'}{_SUFFIX}"
