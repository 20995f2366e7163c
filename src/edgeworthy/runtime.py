"""A session over ONNX Runtime, and what the file says of itself without the onnx library.

Sessions use one thread unless told otherwise, so that figures repeat.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeworthy import machine
from edgeworthy.contract import (
    CHANNELS,
    Layout,
    Normalization,
    layout_of,
    picture_input,
    picture_size,
    read_output_name,
    scores_output,
)
from edgeworthy.errors import ClassNamesError, ModelFileError, OptionError, first_line
from edgeworthy.evidence import Recorded
from edgeworthy.memory import give_back
from edgeworthy.silence import quiet, without_telemetry

Array = npt.NDArray[np.float32]

Provider = Literal["cpu", "cuda", "openvino"]

_CPU = "CPUExecutionProvider"
_PROVIDERS = {"cpu": _CPU, "cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
_PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}

_OWN_AFTER = 256  # runs for each thread in the shared session: by then, loading another would have paid
_OWN_BYTES = 512 * 2**20  # of the file, times the threads; larger files stay in one session
_QUIET = 4  # ONNX Runtime's log level "fatal": everything else is reported as an exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output: its name, ONNX Runtime's type such as `tensor(float)`, and its shape.

    A dynamic dimension of the shape is its name, or None.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Session:
    """A model file, loaded by ONNX Runtime on the CPU.

    Args:
        path: of the file.
        threads: for one operator; 0 leaves the choice to ONNX Runtime.
        optimize: whether ONNX Runtime may rewrite the graph before it runs it.
        provider: what computes; operators that it does not know are left to the CPU.
        profile: where ONNX Runtime shall write how long each operator takes; `end_profile` gives the file.
        lean: for a few runs: without the block that holds all values of a run from the second on, which lies
            beside what the first has taken, and can be as large.

    Raises:
        ModelFileError: where the file is missing, or ONNX Runtime refuses it.
        OptionError: on more threads than there are cores, or a provider that this ONNX Runtime lacks.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        optimize: bool = True,
        provider: Provider = "cpu",
        profile: Path | None = None,
        lean: bool = False,
    ) -> None:
        without_telemetry(os.environ)
        import onnxruntime as ort

        if not path.is_file():
            raise ModelFileError(f"{path} is not there.", hint="Give the path of an ONNX file.")
        cores = machine.cores()
        if threads > cores:
            raise OptionError(
                f"{threads} threads are more than the {cores} cores of this machine.",
                hint="They would only wait for each other; 0 takes all cores.",
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        options.enable_mem_pattern = not lean
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        wanted = _provider(provider)
        try:
            self._session = ort.InferenceSession(
                str(path),
                options,
                providers=list(dict.fromkeys([wanted, _CPU])),
                provider_options=_limits(provider, threads),
            )
        except Exception as error:
            raise ModelFileError(
                f"ONNX Runtime refuses {path}: {first_line(error)}", hint="See: edgeworthy check"
            ) from error
        if self._session.get_providers()[0] != wanted:  # it falls back to the CPU and says so to nobody
            raise OptionError(
                f"ONNX Runtime has {wanted}, and cannot start it on this machine.",
                hint=f"Are its device and driver there, and the libraries that {_PACKAGES[provider]} needs?",
            )
        give_back()  # the file's own bytes and their parse
        self.path, self.provider = path, provider
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))
        meta = self._session.get_modelmeta()
        self.doc_string: str = meta.graph_description
        self.metadata: dict[str, str] = dict(meta.custom_metadata_map)

    @property
    def names(self) -> list[str]:
        """Names of the inputs, then of the outputs."""
        return [port.name for port in (*self.inputs, *self.outputs)]

    def run(self, feeds: dict[str, npt.NDArray[Any]], outputs: list[str] | None = None) -> list[Any]:
        """Run the graph once on named arrays.

        Raises:
            ModelFileError: where an operator fails.
        """
        import onnxruntime as ort

        options = ort.RunOptions()
        options.log_severity_level = _QUIET
        try:
            result: list[Any] = self._session.run(outputs, feeds, options)
        except Exception as error:
            raise ModelFileError(f"Running {self.path} failed: {first_line(error)}") from error
        return result

    def end_profile(self) -> Path:
        """The file of the profile, written whole."""
        return Path(self._session.end_profiling())

    @property
    def picture(self) -> Port | None:
        """The input that takes the picture; None where no or several inputs may."""
        index = picture_input([port.name for port in self.inputs])
        return None if index is None else self.inputs[index]

    @property
    def scores_port(self) -> Port:
        """The output that carries the classes, or else the first."""
        return self.outputs[scores_output([port.name for port in self.outputs]) or 0]

    @property
    def picture_port(self) -> Port:
        """The input that takes the picture, or else the first."""
        return self.picture or self.inputs[0]

    def feeds(self, batch: Array) -> dict[str, npt.NDArray[Any]]:
        """What `run` takes for one picture of the input's shape, optional inputs being ones."""
        feeds: dict[str, npt.NDArray[Any]] = {
            port.name: np.ones(
                [dim if isinstance(dim, int) else 1 for dim in port.shape],
                dtype=np.bool_ if "bool" in port.dtype else np.float32,
            )
            for port in self.inputs
            if port is not self.picture
        }
        return feeds | {self.picture_port.name: batch}

    def scores(self, batch: Array) -> Array:
        """Scores for one picture of the input's shape, optional inputs being ones; float32 [1, classes]."""
        values = self.run(self.feeds(batch), [self.scores_port.name])[0]
        return np.asarray(values, dtype=np.float32)


def _limits(provider: Provider, threads: int) -> list[dict[str, str]] | None:
    """OpenVINO keeps threads of its own, as many as there are cores unless it is told otherwise.

    CUDA multiplies in TF32 unless it is told otherwise, which has 10 bits of mantissa.
    """
    if provider == "cuda":
        return [{"use_tf32": "0"}, {}]
    return [{"num_of_threads": str(threads)}, {}] if provider == "openvino" and threads else None


def _provider(provider: Provider) -> str:
    """ONNX Runtime's name for it.

    Raises:
        OptionError: where the installed ONNX Runtime lacks it; it names the package that brings it.
    """
    import onnxruntime as ort

    if provider not in _PROVIDERS:
        raise OptionError(f"Unknown provider {provider!r}.", hint=f"Use one of: {', '.join(_PROVIDERS)}.")
    name = _PROVIDERS[provider]
    available = ort.get_available_providers()
    if name not in available:
        raise OptionError(
            f"This ONNX Runtime has no {name}; it has {', '.join(available)}.",
            hint=f"Install it in its place: pip uninstall onnxruntime; pip install {_PACKAGES[provider]}",
        )
    if provider == "cuda":
        _load_cuda()
    return name


@functools.cache
def _load_cuda() -> None:
    """Load the libraries of CUDA and cuDNN that pip has installed, where the system does not look."""
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):  # since 1.21
        with quiet():  # it tells of each that it does not find, though the system may have it
            ort.preload_dlls()


def worth_their_own(provider: Provider, size_bytes: int, jobs: int) -> bool:
    """Whether so many threads do better with a session each, which holds the weights as many times."""
    return provider == "cpu" and jobs > 1 and size_bytes * jobs <= _OWN_BYTES


class SideBySide:
    """One file for many threads: they share a session, until they have done enough to be worth one each.

    ONNX Runtime's sessions can be shared, but threads in one wait for each other now and then: two threads
    do about 5 % more in sessions of their own (`benchmarks/throughput.py`). The weights are held once for
    each of them then, so large files stay shared, and so does a file that has changed meanwhile.

    Args:
        shared: for the first runs of every thread.
        jobs: threads that will use it at the same time.
        threads: of each session.

    Attributes:
        size_bytes: of the file.
        apart: whether it may be loaded once for each of them.
    """

    def __init__(self, shared: Session, *, jobs: int, threads: int) -> None:
        self.shared, self._threads = shared, threads
        self._file = shared.path.stat()
        self.size_bytes = self._file.st_size
        self.apart = worth_their_own(shared.provider, self.size_bytes, jobs)
        self._runs, self._begin = itertools.count(), jobs * _OWN_AFTER
        self._idle: list[Session] = []  # of those besides the shared one
        self._to_load, self._counting = jobs - 1, threading.Lock()

    def scores(self, batch: Array) -> Array:
        """As `Session.scores`, in a session that no other thread uses meanwhile, where there is one."""
        session = self._taken() if self.apart else self.shared
        try:
            return session.scores(batch)
        finally:
            if session is not self.shared:
                self._idle.append(session)

    def _taken(self) -> Session:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        if not self._to_load or next(self._runs) < self._begin:
            return self.shared
        with self._counting:
            mine = self._to_load > 0
            self._to_load -= mine
        return self._loaded() if mine else self.shared

    @property
    def is_stale(self) -> bool:
        """Whether the file is gone, or no longer what was loaded."""
        try:
            now = self.shared.path.stat()
        except OSError:
            return True
        before = self._file
        return (now.st_ino, now.st_size, now.st_mtime_ns) != (
            before.st_ino,
            before.st_size,
            before.st_mtime_ns,
        )

    def _loaded(self) -> Session:
        if not self.is_stale:
            with contextlib.suppress(ModelFileError):
                session = Session(self.shared.path, threads=self._threads)
                if not self.is_stale:
                    return session
        return self.shared  # the file is gone or changed: what is loaded goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What a classifier's file says of itself.

    Attributes:
        class_names: from the output's name; None where it carries none.
        channels, height_px, width_px, layout: of the input picture.
        normalization: from the graph's doc_string, or else from the evidence; None where neither has it.
        recorded: the evidence.
    """

    class_names: tuple[str, ...] | None
    channels: int
    height_px: int
    width_px: int
    layout: Layout
    normalization: Normalization | None
    recorded: Recorded


def facts_of(session: Session) -> FileFacts:
    """Read a classifier's file.

    Raises:
        ModelFileError: where there is no single input that is a picture of a fixed size.
    """
    if not session.outputs:
        raise ModelFileError(f"{session.path} has no output.", hint="See: edgeworthy check")
    port = session.picture
    shape = tuple(dim if isinstance(dim, int) else None for dim in port.shape) if port else ()
    layout = layout_of(shape)
    if port is None or layout is None or port.dtype != "tensor(float)":
        raise ModelFileError(
            f"{session.path} takes no picture: its input is {_describe(port)}; expected is a float32 of "
            f"shape [1, C, H, W] or [1, H, W, C], C one of {CHANNELS}.",
            hint="See: edgeworthy check",
        )
    channels, height, width = picture_size(shape)
    if not channels or not height or not width:
        raise ModelFileError(
            f"{session.path} takes pictures of no fixed size: {_describe(port)}.",
            hint="Export it with static shapes.",
        )
    recorded = Recorded.from_metadata(session.metadata)
    return FileFacts(
        class_names=_class_names(session.scores_port.name),
        channels=channels,
        height_px=height,
        width_px=width,
        layout=layout,
        normalization=_normalization(session.doc_string, recorded, channels),
        recorded=recorded,
    )


def _normalization(doc_string: str, recorded: Recorded, channels: int) -> Normalization | None:
    """From the doc_string, or where a tool has erased it, as the evidence says that it was."""
    try:
        return Normalization.from_doc_string(doc_string)
    except OptionError:
        in_graph = recorded.normalization_in == "graph"
        return Normalization.identity(channels) if in_graph else recorded.normalization


def _class_names(output: str) -> tuple[str, ...] | None:
    try:
        entries = read_output_name(output)
    except ClassNamesError:
        return None
    in_order = [ident for ident, _ in entries] == list(range(len(entries)))
    return tuple(name for _, name in entries) if in_order else None


def _port(value: Any) -> Port:
    return Port(name=value.name, dtype=value.type, shape=tuple(value.shape))


def _describe(port: Port | None) -> str:
    return (
        "not to be told among its inputs"
        if port is None
        else f"{port.name[:40]!r}, {port.dtype}, {list(port.shape)}"
    )
