"""Work on many things side by side, in order, with few of them in memory at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 8


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int, *, ahead: int = _AHEAD
) -> Iterator[Result]:
    """Results of `work` for all items, in their order, from `jobs` threads.

    The caller's thread takes the items, and sleeps until several of them are done: each time that it wakes,
    it takes a core and the interpreter's lock from one that works.

    Args:
        work: called by several threads.
        items: are taken as they are needed.
        jobs: threads.
        ahead: items for each thread that are finished or waiting, at most.

    Raises:
        Exception: what `work` raises, or the items do; what is waiting by then is not begun.
    """
    waiting: deque[Future[Result]] = deque()
    most = jobs * ahead
    with ThreadPoolExecutor(jobs) as crew:
        try:
            for item in items:
                waiting.append(crew.submit(work, item))
                if len(waiting) == most:
                    wait([waiting[most // 2 - 1]])
                while waiting and (waiting[0].done() or len(waiting) == most):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            crew.shutdown(cancel_futures=True)
