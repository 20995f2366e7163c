"""Many texts in their order, few of them in memory: a temporary file that vanishes with the process."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator

from edgeworthy.errors import TargetError

_CHUNK = 512  # texts that are read and written together
_IN_MEMORY_BYTES = 2**20  # where all of them take no more, there is no file
_RUN = 20_000  # texts that are sorted in memory


class Spool:
    """Texts that are written once, and read as often as wanted.

    Raises:
        TargetError: where the folder of temporary files takes no more.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)
        self._ends = array("Q", [0])
        self._tail: list[str] = []
        self._count = 0
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> None:
        """Put a text behind the others."""
        self._tail.append(text)
        self._count += 1
        if len(self._tail) == _CHUNK:
            # JSON in ASCII keeps what is no text, such as a file name in another encoding
            chunk = json.dumps(self._tail).encode("ascii")
            self._tail = []
            try:
                self._file.seek(self._ends[-1])
                self._file.write(chunk)
            except OSError as error:
                place, reason = tempfile.gettempdir(), error.strerror or error
                raise TargetError(
                    f"The list of pictures cannot be kept in {place}: {reason}.",
                    hint="Make room there, or name another place in TMPDIR.",
                ) from error
            self._ends.append(self._ends[-1] + len(chunk))

    def __iter__(self) -> Iterator[str]:
        for start, end in itertools.pairwise(self._ends):
            self._file.seek(start)
            yield from json.loads(self._file.read(end - start))
        yield from self._tail

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # where the file could not even be made
            self._file.close()


def in_order(texts: Iterable[str], key: Callable[[str], str]) -> Iterator[str]:
    """The texts, sorted: a run at a time in memory, then all runs merged."""
    texts = iter(texts)
    runs: list[Spool] = []
    while run := sorted(itertools.islice(texts, _RUN), key=key):
        if len(run) < _RUN and not runs:
            yield from run
            return
        runs.append(Spool(run))
    yield from heapq.merge(*runs, key=key)
