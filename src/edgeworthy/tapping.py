"""A model file whose inner values are looked at, some of them at a time, in the sandbox."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeworthy import workshop
from edgeworthy.errors import ModelFileError, OptionError
from edgeworthy.model import damaged_name, no_room, parse, read_bytes, tensors_of, to_bytes
from edgeworthy.sandbox import Sandbox
from edgeworthy.sketches import Sketch
from edgeworthy.wiring import Shapes, Wiring

BUDGET_BYTES = 128 << 20  # of values that one run hands out
_UNKNOWN_BYTES = 4 << 20  # what a value counts as whose shape cannot be inferred
_SMALL = 1024  # numbers, as shapes are given by; others are weights
_DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A value: its shape and numpy dtype, its sketches a picture, and those of it turned to [N, C, H, W]."""

    shape: tuple[int, ...]
    dtype: str
    sketches: tuple[Sketch, ...]
    turned: tuple[Sketch, ...]


class Tapped:
    """Sketches of a file's inner values, made when they are first looked at.

    Args:
        path: of the file.
        pictures: as its input takes them.
        sandbox: where it runs.
        scratch: a folder.
        order: of the columns of what has one for each class, where they are to be brought into another.
        scores: the name of the output that has.

    Attributes:
        model: what the file holds.
        shapes: of its values, as far as they can be inferred.

    Raises:
        ModelFileError: where it is no ONNX model.
        OptionError: where its weights lie in other files.
    """

    def __init__(
        self,
        path: Path,
        pictures: Sequence[npt.NDArray[np.float32]],
        sandbox: Sandbox,
        scratch: Path,
        *,
        order: Sequence[int] = (),
        scores: str = "",
    ) -> None:
        self._path, self._sandbox, self._scratch = path, sandbox, scratch
        self._content = read_bytes(path)
        self.model = parse(self._content, str(path))
        bad = damaged_name(self.model)
        if bad is not None:
            raise ModelFileError(
                f"{path} is damaged: the name {bad[:40]!r} is not valid UTF-8.", hint="Make it again."
            )
        if any(tensor.data_location for tensor in tensors_of(self.model)):
            raise OptionError(
                f"The weights of {path} lie in other files, and --locate looks into one.",
                hint="Take them in first, with: edgeworthy repair",
            )
        tail = Wiring(self.model).tail(scores) if order else ()
        self._orders = {name: list(order) for name in sorted(tail)}
        self._feeds = scratch / "feeds.npz"
        self._save(self._feeds, {str(place): values for place, values in enumerate(pictures)})
        self._runs = len(pictures)
        self._seen: dict[str, Seen | None] = {}
        found = self._call(workshop.infer.__name__, str(self._without_weights()))
        self.shapes: Shapes = {
            name: (code, None if shape is None else tuple(shape)) for name, (code, shape) in found.items()
        }

    def bytes_of(self, names: Iterable[str]) -> int:
        """About how much memory values take."""
        return sum(map(self._bytes, names))

    def look(self, names: Iterable[str]) -> None:
        """See to it that these values are known, with few of them in memory at any time."""
        group: list[str] = []
        held = 0
        for name in dict.fromkeys(names):
            if name in self._seen:
                continue
            size = self._bytes(name)
            if group and held + size > BUDGET_BYTES:
                self._look(group)
                group, held = [], 0
            group.append(name)
            held += size
        if group:
            self._look(group)

    def __getitem__(self, name: str) -> Seen | None:
        """A value that has been looked at; None where it is no array of numbers."""
        self.look([name])
        return self._seen[name]

    def _bytes(self, name: str) -> int:
        _, shape = self.shapes.get(name, (0, None))
        return _UNKNOWN_BYTES if shape is None or None in shape else 8 * math.prod(dim or 1 for dim in shape)

    def _look(self, names: list[str]) -> None:
        """Protobuf merges messages that stand in a row: further outputs behind the file's own bytes."""
        addition = type(self.model)()
        given = {value.name for value in self.model.graph.output}
        for name in names:
            if name not in given:
                addition.graph.output.add(name=name)
        path, target = self._scratch / "tapped.onnx", self._scratch / "seen.npz"
        try:
            path.write_bytes(self._content + to_bytes(addition))
        except OSError as error:
            raise no_room(self._scratch, error) from error
        said = self._call(
            workshop.tap.__name__, str(path), str(self._feeds), str(target), names, self._orders
        )
        with np.load(target, allow_pickle=False) as sketches:
            for place, name in enumerate(names):
                shape = said["shapes"][place]
                self._seen[name] = None
                if shape is not None:
                    self._seen[name] = Seen(
                        shape=tuple(shape),
                        dtype=said["dtypes"][place],
                        sketches=tuple(sketches[f"{place}.{run}"] for run in range(self._runs)),
                        turned=tuple(
                            sketches[f"{place}.{run}.turned"] for run in range(self._runs) if len(shape) == 4
                        ),
                    )

    def _without_weights(self) -> Path:
        """The graph as a small file: of large weights, shapes take nothing but their own."""
        bare = type(self.model)()
        bare.CopyFrom(self.model)
        for tensor in bare.graph.initializer:
            if math.prod(tensor.dims) > _SMALL:
                for field in _DATA:
                    tensor.ClearField(field)
        path = self._scratch / "bare.onnx"
        try:
            path.write_bytes(to_bytes(bare))
        except OSError as error:
            raise no_room(self._scratch, error) from error
        return path

    def _save(self, path: Path, arrays: dict[str, Any]) -> None:
        try:
            np.savez(path, **arrays)
        except OSError as error:
            raise no_room(self._scratch, error) from error

    def _call(self, function: str, *args: Any) -> Any:
        outcome = self._sandbox.call(f"{workshop.MODULE}:{function}", *args, timeout_s=_TIMEOUT_S)
        if outcome.done:
            return outcome.value
        message = outcome.message.replace(str(self._scratch / "tapped.onnx"), str(self._path))
        raise ModelFileError(
            f"The values inside {self._path} cannot be looked at: {message.rstrip('.')}.",
            hint="See: edgeworthy check",
        )
