"""Where a model under repair is tried: files in a scratch folder, native code in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy import workshop
from edgeworthy.contract import MAX_IR_VERSION
from edgeworthy.errors import IrreparableError
from edgeworthy.model import no_room, parse, to_bytes
from edgeworthy.repairs.border import Array

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgeworthy.sandbox import Outcome, Sandbox

Inferred = dict[str, tuple[int, tuple[int | None, ...] | None]]  # element type and shape by name

_TIMEOUT_S = 120.0
_SUFFIXES = (".onnx", ".part")  # of the models that are run, which nobody knows by their names
_DTYPES: dict[str, Any] = {
    "tensor(bool)": np.bool_,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class Bench:
    """A sandbox and a folder through which it is told what to work on.

    Args:
        sandbox: where native code runs.
        scratch: the folder.
    """

    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self._sandbox = sandbox
        self._scratch = scratch

    def save(self, model: ModelProto, name: str) -> Path:
        """A model as a file in the folder.

        Raises:
            TargetError: where the disk does not take it.
        """
        path = self._scratch / name
        try:
            path.write_bytes(to_bytes(model))
        except OSError as error:
            raise no_room(self._scratch, error) from error
        return path

    def save_loadable(self, model: ModelProto, name: str) -> Path:
        """The same with an IR version that the runtime knows: the number computes nothing."""
        version = model.ir_version
        model.ir_version = min(version, MAX_IR_VERSION)
        path = self.save(model, name)
        model.ir_version = version
        return path

    def infer(self, model: ModelProto) -> Inferred:
        """Element type and shape of the main graph's values, as far as they can be inferred."""
        outcome = self._call(workshop.infer.__name__, str(self.save(model, "inferred.onnx")))
        found = outcome.value if outcome.done else {}
        return {
            name: (dtype, tuple(shape) if shape is not None else None)
            for name, (dtype, shape) in found.items()
        }

    def inlined(self, model: ModelProto) -> ModelProto:
        """The model without functions of its own, but what they are made of.

        Raises:
            IrreparableError: where that fails.
        """
        target = self._scratch / "inlined.onnx"
        self._run(workshop.inline.__name__, str(self.save(model, "functions.onnx")), str(target))
        return parse(target.read_bytes(), "the inlined model")

    def ask(
        self,
        path: Path,
        pictures: Array,
        names: tuple[str, str],
        *,
        keys: Sequence[int | str] = (),
        optimize: bool = True,
    ) -> Array:
        """Answers of a model file for pictures [probes, …]; other inputs get ones.

        Args:
            path: of the file.
            pictures: as its input takes them.
            names: of the input that takes them, and of the output that is wanted.
            keys: of an answer that is a map, in the order of the scores.
            optimize: whether ONNX Runtime may rewrite the graph.

        Raises:
            IrreparableError: where ONNX Runtime refuses the file, or fails on it.
        """
        feeds, target = self._scratch / "feeds.npz", self._scratch / "answers.npy"
        ports = self._run(workshop.ports.__name__, str(path))
        columns: dict[str, Any] = {}
        for place, (name, dtype, shape) in enumerate(ports["inputs"]):
            sizes = [dim if isinstance(dim, int) else 1 for dim in shape]
            ones = np.ones((len(pictures), *sizes), _DTYPES.get(dtype, np.float32))
            columns[str(place)] = pictures if name == names[0] else ones
        np.savez(feeds, **columns)
        found = self._run(workshop.answer.__name__, str(path), str(feeds), str(target), names[1], optimize)
        answers = np.load(target, allow_pickle=False)
        if found:
            answers = answers[..., [found.index(str(key)) for key in keys]]
        return np.asarray(answers)

    def _call(self, function: str, *args: Any) -> Outcome:
        return self._sandbox.call(f"{workshop.MODULE}:{function}", *args, timeout_s=_TIMEOUT_S)

    def _run(self, function: str, *args: Any) -> Any:
        outcome = self._call(function, *args)
        if outcome.done:
            return outcome.value
        message = outcome.message.partition(": ")[2] or outcome.message
        message = message.removesuffix(" See: edgeworthy check")
        for word in args:
            message = message.replace(word, "it") if str(word).endswith(_SUFFIXES) else message
        raise IrreparableError(
            f"The model does not run: {message.rstrip('.')}.",
            hint="What stands in the way: edgeworthy check.",
        )
