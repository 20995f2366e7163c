"""The bounded queue in front of the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, TypeVar

from edgeworthy.web.problems import ProblemError, busy

P = ParamSpec("P")
T = TypeVar("T")

_NEWEST = 0.05  # weight of the latest duration in their moving average


class Line:
    """Threads that work, and requests that wait for them, so many and no more.

    Args:
        jobs: threads.
        queue: requests that may wait, besides those that are worked on.
        timeout_s: for one piece of work, the wait for it included.
    """

    def __init__(self, *, jobs: int, queue: int, timeout_s: float) -> None:
        self._crew = ThreadPoolExecutor(jobs, thread_name_prefix="session")
        self._under_way: set[Future[Any]] = set()
        self._jobs, self._places, self._timeout_s = jobs, jobs + queue, timeout_s
        self._seconds = 0.0
        self.inside = 0

    def refuse_when_full(self) -> None:
        """Say so before anything is read.

        Raises:
            ProblemError: where there is no place.
        """
        if self.inside >= self._places:
            after_s = min(self._timeout_s, math.ceil(self.inside * self._seconds / self._jobs))
            raise busy(f"{self.inside} requests are being answered or wait already.", after_s)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in the line, for one request whose body is there: who sends slowly takes none.

        Raises:
            ProblemError: where there is none.
        """
        self.refuse_when_full()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function on one of the threads.

        Raises:
            ProblemError: where it takes too long.
        """
        begun = False

        def timed() -> T:
            nonlocal begun
            begun = True
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds += _NEWEST * (time.perf_counter() - start - self._seconds)

        loop, work = asyncio.get_running_loop(), self._crew.submit(timed)
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            told = f"within {self._timeout_s:g} s"
            if begun:
                self.inside += 1  # its thread is still taken
                work.add_done_callback(lambda _: self._leave(loop))
                raise ProblemError("too-late", f"The answer was not there {told}.") from None
            raise busy(f"No session was free {told}.", self._timeout_s) from None

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        def leave() -> None:
            self.inside -= 1

        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(leave)

    def close(self) -> None:
        """End the threads, when they have done what they are at."""
        self._crew.shutdown(wait=False, cancel_futures=True)

    def ended(self, patience_s: float) -> bool:
        """Whether nothing is under way any more, within so long after `close`."""
        return not wait(list(self._under_way), patience_s).not_done
