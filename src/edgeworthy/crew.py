"""Work on many things on all cores, in order: by threads, or by processes where these do more of it.

Threads start at once and share what is loaded, but they wait for each other: for the interpreter, and within
the libraries that they call. A process takes a second to start, and after that waits for nobody. Which one
is quicker depends on the machine, the model and the pictures, so it is measured while both do the work.

A process is this module run as a program. It reads pickled requests, the first of which names the function
that makes its work, and answers each with a pickle. One that dies, or meets an error that nobody foresaw,
leaves what it had to the caller's threads.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from edgeworthy import machine
from edgeworthy.children import Child, answers, start_module
from edgeworthy.errors import EdgeworthyError, OptionError
from edgeworthy.pipeline import side_by_side

Item = TypeVar("Item")
Result = TypeVar("Result")

Pool = Literal["auto", "threads", "processes"]
Way = Callable[[Iterable[Item]], Iterator[Result]]

_FIRST = 512  # items for the threads alone: many calls have no more
_WINDOW = 256  # items before the other way has its turn
_TURNS = 2  # that each of them has
_TOGETHER = 4  # items that are sent to a process at a time
_AT_ONCE = 2  # tasks that a process has at a time: the one that it does, and the next
_AHEAD = 3  # tasks for each of these, finished or waiting
_PROCESS_BYTES = 100 * 2**20  # Python, NumPy, Pillow and ONNX Runtime take 60 MB


class Crew(Generic[Item, Result]):
    """Processes that do work in the way of a function that each of them makes for itself.

    They start at once, beside whatever the caller does meanwhile.

    Args:
        size: number of processes.
        make: called in each of them; gives what makes a result of an item. Importable by its name.
        arguments: for it; they can be pickled, as items and results can.
    """

    def __init__(
        self, size: int, make: Callable[..., Callable[[Item], Result]], arguments: tuple[Any, ...]
    ) -> None:
        first = pickle.dumps((make, arguments))
        self._workers = [_Worker(first) for _ in range(size)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def starting(self) -> bool:
        """Whether one of them is not ready yet, and may be."""
        return not all(worker.begun.is_set() for worker in self._workers)

    def ready(self) -> bool:
        """Wait until all have started; whether they have."""
        for worker in self._workers:
            worker.begun.wait()
        return all(worker.alive for worker in self._workers)

    def map(
        self,
        items: Iterable[Item],
        otherwise: Callable[[Item], Result],
        stays: Callable[[Item], bool] = lambda item: False,
    ) -> Iterator[Result]:
        """Results of all items, in their order.

        Args:
            items: to work on.
            otherwise: makes a result in this process, where the one that had the item died.
            stays: whether an item cannot be sent, and is left to `otherwise`.

        Raises:
            Exception: what the work raises.
        """
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers * _AT_ONCE:
            free.put(worker)
        cores = threading.Semaphore(len(self._workers))  # fewer than there are threads to wait for answers

        def done(task: list[Item]) -> list[Result]:
            worker = free.get()
            try:
                if not stays(task[0]):
                    results: list[Result] = worker.do(task)
                    return results
            except _GoneError:
                pass
            finally:
                free.put(worker)
            with cores:
                return [otherwise(item) for item in task]

        threads = len(self._workers) * _AT_ONCE
        for results in side_by_side(done, _tasks(items, stays), threads, ahead=_AHEAD):
            yield from results

    def close(self) -> None:
        """End them, and what they are at."""
        for worker in self._workers:
            worker.close()


class _GoneError(Exception):
    """The process has died."""


class _Worker:
    """One process, as its caller sees it.

    Attributes:
        begun: set when it is ready, or cannot be.
        alive: whether it can be asked.
    """

    def __init__(self, first: bytes) -> None:
        self.begun, self.alive = threading.Event(), False
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self._process: Child | None = None
        try:
            self._process = start_module("edgeworthy.crew")
        except OSError:
            self.begun.set()
        else:
            threading.Thread(target=self._begin, args=(self._process, first), daemon=True).start()

    def do(self, task: Any) -> Any:
        """The results of a task; another thread may send the next one meanwhile.

        Raises:
            _GoneError: where the process has died.
            Exception: what the work raises.
        """
        self.begun.wait()
        with self._sending:
            if self._process is None or not self.alive:
                raise _GoneError
            self._send(self._process, pickle.dumps(task))
            self._reading.acquire()  # when the thread before has its answer: they come in order
        try:
            fine, result = self._receive(self._process)
        finally:
            self._reading.release()
        if not fine:
            raise result
        return result

    def close(self) -> None:
        if self._process is None:
            return
        self.alive = False
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # it took not all that was sent
                stream.close()

    def _begin(self, process: Child, first: bytes) -> None:
        with contextlib.suppress(_GoneError):
            self._send(process, first)
            self.alive, _ = self._receive(process)
        self.begun.set()

    def _send(self, process: Child, content: bytes) -> None:
        try:
            process.stdin.write(content)
            process.stdin.flush()
        except (OSError, ValueError) as error:
            self.alive = False
            raise _GoneError from error

    def _receive(self, process: Child) -> tuple[bool, Any]:
        try:
            answer: tuple[bool, Any] = pickle.load(process.stdout)  # noqa: S301 - our own process
        except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
            self.alive = False
            raise _GoneError from error
        return answer


def pooled(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    pool: Pool,
    make: Callable[..., Callable[[Item], Result]],
    arguments: tuple[Any, ...],
    each_bytes: int = 0,
    stays: Callable[[Item], bool] = lambda item: False,
    same: Callable[[], bool] = lambda: True,
) -> Iterator[Result]:
    """Results of `work` for all items, in their order.

    Args:
        work: makes a result of an item, in this process; called by several threads.
        items: to work on; few of them are held at any time.
        jobs: items at a time.
        pool: who works: threads, processes, or, after the first few hundred items, those of the two that have
            done more when each had its turn; threads, where processes would take half of the free memory.
        make: makes `work` in a process, see `Crew`.
        arguments: for it.
        each_bytes: what it loads.
        stays: whether an item cannot be sent to a process; with `auto`, none starts where the first one after
            some hundred cannot.
        same: whether what a process has loaded by now is still what `work` works with; else, threads do it.

    Raises:
        OptionError: where processes are asked for and do not start.
        Exception: what `work` raises, or the items do.
    """

    def threads(some: Iterable[Item]) -> Iterator[Result]:
        return side_by_side(work, some, jobs)

    rest = _Rest(items)
    if pool == "auto" and (jobs == 1 or not _fits(jobs, each_bytes)):
        pool = "threads"
    if pool != "processes":
        yield from threads(rest if pool == "threads" else rest.take(_FIRST))
    if not rest:
        return
    if pool == "auto" and stays(rest.first):
        yield from threads(rest)
        return
    with Crew(jobs, make, arguments) as crew:

        def processes(some: Iterable[Item]) -> Iterator[Result]:
            return crew.map(some, work, stays)

        way: Way[Item, Result] = threads
        if pool == "processes":
            if not crew.ready():
                raise OptionError("Worker processes do not start here.", hint="Let threads work.")
            way = processes if same() else threads
        else:
            while rest and crew.starting:
                yield from threads(rest.take(_WINDOW))
            if rest and crew.ready() and same():
                way = yield from _quicker(threads, processes, rest)
        if way is threads:
            crew.close()
        yield from way(rest)


def _fits(jobs: int, each_bytes: int) -> bool:
    free = machine.free_bytes()
    return free is None or jobs * (_PROCESS_BYTES + each_bytes) < free / 2


def _quicker(
    usual: Way[Item, Result], other: Way[Item, Result], rest: _Rest[Item]
) -> Generator[Result, None, Way[Item, Result]]:
    """Let both work in turns, and tell which one took less time; one that has just started warms up first."""
    seconds = {usual: 0.0, other: 0.0}
    yield from other(rest.take(_WINDOW))
    for way in [usual, other] * _TURNS:
        begun = time.perf_counter()
        yield from way(rest.take(_WINDOW))
        seconds[way] += time.perf_counter() - begun
    return min(usual, other, key=lambda way: seconds[way])


class _Rest(Generic[Item]):
    """What is left of items, and whether something is."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._next: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        while self:
            yield self._next.pop()

    def __bool__(self) -> bool:
        self._next = self._next or list(islice(self._items, 1))
        return bool(self._next)

    @property
    def first(self) -> Item:
        """The next one, where there is one."""
        return self._next[0]

    def take(self, count: int) -> Iterator[Item]:
        """The next ones, so many at most."""
        return islice(iter(self), count)


def _tasks(items: Iterable[Item], stays: Callable[[Item], bool]) -> Iterator[list[Item]]:
    """Items that are sent together; one that stays is by itself."""
    task: list[Item] = []
    for item in items:
        alone = stays(item)
        if task and (alone or len(task) == _TOGETHER):
            yield task
            task = []
        task.append(item)
        if alone:
            yield task
            task = []
    if task:
        yield task


def serve() -> None:
    """The process: answer requests until the caller closes the pipe, or is gone."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as in the program that has started this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the caller ends this one
    replies, requests = answers(), sys.stdin.buffer
    make, arguments = pickle.load(requests)  # noqa: S301 - from our own caller
    work = make(*arguments)
    answer: tuple[bool, Any] = True, None
    while True:
        replies.write(pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL))
        replies.flush()
        task = pickle.load(requests)  # noqa: S301
        try:
            answer = True, [work(item) for item in task]
        except EdgeworthyError as error:
            answer = False, error


if __name__ == "__main__":
    with contextlib.suppress(Exception):  # the caller, if it is there, does the work itself, and sees why
        serve()
    os._exit(0)  # nothing is left to tidy up
