"""Starting the servers that serve.py measures, one at a time, and looking at them from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgeworthy import machine

from ..measuring import proportional_bytes, tree
from .client import HOST

HERE = Path(__file__).resolve().parent
STARTING_S = 90
STOPPING_S = 45
BATCH = 16  # of LitServe's batches
PACKAGES = ("fastapi", "uvicorn[standard]", "python-multipart", "litserve")  # of the peers
PINNED = ("onnxruntime", "pillow", "numpy")  # as ours have them


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server's name in the tables, the command that starts it up to its port, and where it predicts."""

    name: str
    command: tuple[str, ...]
    path: str = "/predict"


def ours(file: Path) -> Contender:
    command = (sys.executable, "-m", "edgeworthy", "serve", str(file), "--host", HOST, "--port")
    return Contender(name="edgeworthy", command=command, path="/v1/predict")


def peers(file: Path, batched: Path, python: Path) -> list[Contender]:
    """What people write otherwise; `batched` is the same network with a free batch dimension."""
    commands = {
        "FastAPI, async def": ("fastapi", "async", file),
        "FastAPI, def": ("fastapi", "def", file),
        "LitServe": ("litserve", 1, machine.cores(), file),
        f"LitServe, batches of {BATCH}": ("litserve", BATCH, machine.cores(), batched),
    }
    return [
        Contender(name=name, command=(str(python), str(HERE / f"peer_{script}.py"), *map(str, rest)))
        for name, (script, *rest) in commands.items()
    ]


class Server:
    """A running server; leaving the block ends it, and all that it has started."""

    def __init__(self, contender: Contender) -> None:
        self.contender, self.port = contender, _free_port()
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")

    def __enter__(self) -> Server:
        command = [*self.contender.command, str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
        )
        self.pid = self._process.pid
        ready_by = time.monotonic() + STARTING_S
        while not _takes_connections(self.port):
            if self._process.poll() is not None or time.monotonic() > ready_by:
                self._end()
                raise SystemExit(f"{' '.join(command)} does not start:\n{self.said()}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._log.close()

    def stopped(self) -> int | None:
        """Its exit code after SIGTERM; None where it does not end in time."""
        self._process.terminate()
        return self.ended()

    def ended(self) -> int | None:
        """Its exit code, after somebody has told it to end; None where it does not in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(STOPPING_S)
        return None

    def said(self) -> str:
        """All of its standard error so far."""
        self._log.seek(0)
        return self._log.read()

    def memory_bytes(self) -> int:
        return sum(map(proportional_bytes, tree(self.pid)))

    def processor_s(self) -> float:
        """Processor time of its processes so far."""
        return sum(map(_processor_s, tree(self.pid)))

    def _end(self) -> None:
        self.stopped()
        with contextlib.suppress(ProcessLookupError):  # workers that outlive their parent
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def environment(folder: Path) -> Path:
    """The Python of the peers' virtual environment, which is made where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        from importlib.metadata import version

        pins = [f"{name}=={version(name)}" for name in PINNED]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES, *pins], check=True)
    return python


def versions(python: Path) -> str:
    """Of the peers' packages."""
    names = [name.partition("[")[0] for name in PACKAGES]
    script = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {names}))"
    done = subprocess.run([str(python), "-c", script], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def _takes_connections(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0


def _processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user's and system's
