"""Work on a Ray cluster by Ray Data: each task's result once, whatever dies on the way.

Tasks are taken from an iterator in waves, so that the driver holds some thousands of them at any time. A
worker is a process with one core; it is made once, with what it needs, and gets one task after another. Ray
Data gives the task of a worker that died to another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgeworthy.errors import EdgeworthyError, MissingExtraError, OptionError, first_line
from edgeworthy.silence import native_output_to_nowhere

Task = TypeVar("Task")
Result = TypeVar("Result")

_WAVE = 2000  # tasks
_REACHED_S = 10  # within which a head node takes a connection


class Cluster(Generic[Task, Result]):
    """A Ray cluster that is ready for tasks.

    Args:
        workers: processes; 0 takes as many as the cluster has cores.
    """

    def __init__(self, workers: int) -> None:
        import ray

        cores = int(ray.cluster_resources().get("CPU", 1))
        if workers > cores:
            raise _too_many(workers, cores)
        self.workers = workers or cores

    def map(
        self, make: Callable[..., Callable[[Task], Result]], arguments: tuple[Any, ...], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Results of all tasks, as they are done.

        Args:
            make: called in each worker with the arguments; gives what does a task. Importable by its name.
            arguments: sent to each worker once.
            tasks: whatever can be pickled.

        Raises:
            EdgeworthyError: what a worker raises.
        """
        import ray
        import ray.data

        held = ray.put(arguments)
        rest = iter(tasks)
        while wave := list(islice(rest, _WAVE)):
            rows = [{"task": pickle.dumps(task)} for task in wave]
            dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Worker,
                fn_constructor_args=(make, held),
                batch_size=1,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(wave))),
            )
            for row in dataset.iter_rows():
                result = pickle.loads(row["result"])  # noqa: S301 - from our own worker
                if isinstance(result, EdgeworthyError):
                    raise result
                yield result


class _Worker:
    """One process of the cluster."""

    def __init__(self, make: Callable[..., Callable[[Any], Any]], held: Any) -> None:
        self._make, self._held = make, held
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"result": [pickle.dumps(self._done(task)) for task in batch["task"]]}

    def _done(self, task: bytes) -> Any:
        try:
            if self._work is None:  # not when it is made: Ray would make it again and again
                import ray

                self._work = self._make(*ray.get(self._held))
            return self._work(pickle.loads(task))  # noqa: S301 - from our own driver
        except EdgeworthyError as error:
            return error


@contextlib.contextmanager
def cluster(address: str | None = None, workers: int = 0) -> Iterator[Cluster[Any, Any]]:
    """Attach to a cluster, or start one on this machine for as long as it is used.

    Nothing is collected about the user: Ray's usage statistics are off unless they are set otherwise.

    Args:
        address: of the head node, `auto` for the one of this machine; None starts one.
        workers: processes; 0 takes as many as there are cores.

    Raises:
        MissingExtraError: where Ray is not installed.
        OptionError: where the cluster cannot be reached, or has fewer cores.
    """
    from edgeworthy.machine import cores

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what stops the work is raised
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray warns of its own next version
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    if workers < 0:
        raise OptionError(f"workers={workers} is below zero.", hint="0 takes as many as there are cores.")
    mine = not ray.is_initialized()
    if mine and not address and workers > cores():
        raise _too_many(workers, cores())
    if mine:
        _refuse_unreachable(address)
        local: dict[str, Any] = (
            {} if address else {"num_cpus": workers or cores(), "include_dashboard": False}
        )
        try:
            with native_output_to_nowhere(2):  # its core tells of its own log level
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
        except Exception as error:
            raise OptionError(
                f"The Ray cluster {address or 'of this machine'} cannot be reached: {first_line(error)}",
                hint="Is it running, and of the same version of Ray and Python?",
            ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield Cluster(workers)
    finally:
        if mine:
            ray.shutdown()


def _too_many(workers: int, cores: int) -> OptionError:
    return OptionError(
        f"{workers} workers are more than the {cores} cores of the cluster.", hint="0 takes all."
    )


def _refuse_unreachable(address: str | None) -> None:
    """Ray tries for minutes to reach an address where nobody is.

    Raises:
        OptionError: where nothing takes a connection there.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()
    except (OSError, OverflowError) as error:
        raise OptionError(
            f"The Ray cluster {address} cannot be reached: {getattr(error, 'strerror', None) or error}.",
            hint="Is it running there, and may this machine connect to it?",
        ) from error


@contextlib.contextmanager
def landed(content: bytes, name: str) -> Iterator[Path]:
    """A file that was sent, among this machine's temporary files, until it is loaded."""
    with tempfile.TemporaryDirectory(prefix="edgeworthy-") as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        yield file
