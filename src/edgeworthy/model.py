"""An ONNX file in memory and on disk: read with checks, written whole or not at all, digested.

Only `read` needs the onnx library, and imports it when called.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import ModelFileError, NotConformantError, TargetError

if TYPE_CHECKING:
    from onnx import ModelProto

_PIECE_BYTES = 1 << 20


def read_bytes(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelFileError: where it is missing, no regular file, empty, or cannot be one protobuf message.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path} is not a file.", hint="Give the path of an ONNX file.")
        if not status.st_size:
            raise ModelFileError(f"{path} is empty.", hint="Make it again.")
        if status.st_size > MAX_FILE_BYTES:
            raise _too_large(path, status.st_size)
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error, hint="Give the path of an ONNX file.") from error


def _unreadable(path: Path, error: OSError, *, hint: str) -> ModelFileError:
    return ModelFileError(f"{path} cannot be read: {error.strerror or error}.", hint=hint)


def _too_large(path: Path, size_bytes: int) -> ModelFileError:
    return ModelFileError(f"{path} has {size_bytes} bytes; an ONNX file ends at {MAX_FILE_BYTES}.")


def read(path: Path) -> ModelProto:
    """Parse a model file; tensors in external files are not fetched.

    Raises:
        ModelFileError: where it cannot be read, or is no ONNX model.
    """
    return parse(read_bytes(path), str(path))


def parse(content: bytes, name: str) -> ModelProto:
    """Parse a model's bytes; `name` stands in messages.

    Raises:
        ModelFileError: where they are no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise ModelFileError(f"{name} is not an ONNX model, or is cut off.", hint="Make it again.") from error
    if not model.HasField("graph") or not model.graph.output or not model.ir_version:
        raise ModelFileError(f"{name} holds no ONNX graph with an output.", hint="Is it an ONNX file?")
    return model


def to_bytes(model: ModelProto) -> bytes:
    """Serialise, the same model always to the same bytes."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def write_in_pieces(model: ModelProto, path: Path) -> None:
    """Write a model for native code to read, its tensors one by one: its bytes at once take twice the memory.

    The bytes are others than those of `to_bytes`, and mean the same: see `metadata_bytes`.
    """
    import onnx

    graph = {field.name: value for field, value in model.graph.ListFields() if field.name != "initializer"}
    whole = {field.name: value for field, value in model.ListFields() if field.name != "graph"}
    with path.open("wb") as file:
        file.write(to_bytes(onnx.ModelProto(**whole, graph=onnx.GraphProto(**graph))))
        for tensor in model.graph.initializer:
            file.write(to_bytes(onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor]))))


def digest(content: bytes | memoryview) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def opset_of(model: ModelProto) -> int | None:
    """Version of the default operator domain, or None where the file names none."""
    versions = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    return max(versions) if versions else None


def parameters_of(model: ModelProto) -> int:
    """How many values the initialisers hold."""
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)


def metadata_of(model: ModelProto) -> dict[str, str]:
    """The model's metadata_props."""
    return {entry.key: entry.value for entry in model.metadata_props}


def metadata_bytes(metadata: Mapping[str, str]) -> bytes:
    """What adds entries to the metadata_props of a serialised model when it stands behind its bytes.

    Protobuf merges messages that stand in a row, repeated fields by appending:
    https://protobuf.dev/programming-guides/encoding/#last-one-wins
    """
    import onnx

    addition = onnx.ModelProto()
    for key, value in metadata.items():
        addition.metadata_props.add(key=key, value=value)
    return to_bytes(addition)


def nodes_of(model: ModelProto) -> Iterator[Any]:
    """All nodes, those of subgraphs and local functions included."""
    yield from nodes_within(model.graph)
    for function in model.functions:
        yield from nodes_within(function)


def nodes_within(graph: Any) -> Iterator[Any]:
    """All nodes of a graph or function, those of its subgraphs included."""
    waiting = [*graph.node]
    while waiting:
        node = waiting.pop()
        yield node
        for inner in subgraphs_of(node):
            waiting += inner.node


def subgraphs_of(node: Any) -> Iterator[Any]:
    """The graphs among a node's attributes: branches and loop bodies."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def tensors_of(model: ModelProto) -> Iterator[Any]:
    """All constant tensors: initialisers and attributes, those of subgraphs and local functions included."""
    yield from model.graph.initializer
    for node in nodes_of(model):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
        for graph in subgraphs_of(node):
            yield from graph.initializer


def damaged_name(model: ModelProto) -> bytes | None:
    """A name that is no UTF-8, which protobuf hands out as bytes; None where all are text."""
    values = (*model.graph.input, *model.graph.output, *model.graph.initializer)
    names: list[Any] = [value.name for value in values]
    for node in nodes_of(model):
        names += [node.op_type, node.domain, node.name, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    return next((name for name in names if not isinstance(name, str)), None)


def tensor_shape(value: Any) -> tuple[int | str, ...] | None:
    """Shape of a ValueInfoProto; None without one.

    A dynamic dimension is its name or "?", and one that is not above zero its value as text.
    """
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(map(_dimension, tensor.shape.dim))


def _dimension(dim: Any) -> int | str:
    if dim.HasField("dim_value"):
        size: int = dim.dim_value
        return size if size > 0 else str(size)
    name: str = dim.dim_param
    return name or "?"


def dtype_name(value: Any) -> str:
    """Element type of a ValueInfoProto as numpy names it, such as `float32`; "?" for no tensor."""
    from onnx import TensorProto

    code = value.type.tensor_type.elem_type
    if code not in TensorProto.DataType.values():
        return "?"
    name: str = TensorProto.DataType.Name(code).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: its SHA-256 in hexadecimal, and its length."""

    sha256: str
    size_bytes: int


def no_room(folder: Path, error: OSError) -> TargetError:
    """The error for a folder of temporary files that takes no more."""
    return TargetError(
        f"Temporary files cannot be written to {folder.parent}: {error.strerror or error}.",
        hint="Make room there, or name another place in TMPDIR.",
    )


class Draft:
    """A file beside its target that becomes the target at the very end, or vanishes.

    Attributes:
        path: of the draft, to write to and read from.
    """

    def __init__(self, target: Path, *, force: bool) -> None:
        self._target = target
        self._force = force
        self.path = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.part")

    def write(self, content: bytes) -> Written:
        """Write the draft.

        Raises:
            TargetError: where the directory or the disk does not take it.
        """
        self._put(content, "wb")
        return Written(sha256=digest(content), size_bytes=len(content))

    def append(self, content: bytes) -> None:
        """Write behind what the draft holds.

        Raises:
            TargetError: where the disk does not take it.
        """
        self._put(content, "ab")

    def commit(self) -> None:
        """Bring the draft down to the disk and make it the target, in one step.

        Raises:
            TargetError: where the target appeared meanwhile and may not be overwritten.
        """
        try:
            with self.path.open("rb+") as stream:
                os.fsync(stream.fileno())
            if self._force and self._target.exists():
                self.path.chmod(stat.S_IMODE(self._target.stat().st_mode))  # who may read it stays the same
            if self._force:
                self.path.replace(self._target)
            else:
                link(self.path, self._target)
        except FileExistsError as error:
            raise TargetError(f"{self._target} appeared meanwhile.", hint="Use --force.") from error
        except OSError as error:
            raise self._unwritable(error) from error

    @contextlib.contextmanager
    def text(self) -> Iterator[TextIO]:
        """Open the draft for lines of text in UTF-8.

        Raises:
            TargetError: where the directory or the disk does not take it.
        """
        try:
            with self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                yield stream
        except OSError as error:
            raise self._unwritable(error) from error

    def _put(self, content: bytes, mode: Literal["wb", "ab"]) -> None:
        try:
            with self.path.open(mode) as stream:
                stream.write(content)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> TargetError:
        return TargetError(
            f"{self._target} cannot be written: {error.strerror or error}.",
            hint="Choose another place with -o, or make room.",
        )


def append_metadata(file: Draft, written: Written, metadata: Mapping[str, str]) -> Written:
    """Put entries behind the proven bytes of a draft, read it back, and make sure that nothing else changed.

    Raises:
        NotConformantError: where the disk gives back something else.
        ModelFileError: where it gives back nothing.
    """
    addition = metadata_bytes(metadata)
    file.append(addition)
    size_bytes = written.size_bytes + len(addition)
    if size_bytes > MAX_FILE_BYTES:
        raise _too_large(file.path, size_bytes)
    try:
        with file.path.open("rb") as stream:
            summary = _digest_of(stream, written.size_bytes)
            proven = summary.hexdigest() == written.sha256
            summary.update(tail := stream.read())
    except OSError as error:
        raise _unreadable(file.path, error, hint="Is the disk sound?") from error
    if not proven or tail != addition:
        raise NotConformantError(
            "The file on disk is not the one that was proved.", hint="Is the disk sound?"
        )
    return Written(sha256=summary.hexdigest(), size_bytes=size_bytes)


def _digest_of(stream: BinaryIO, size_bytes: int) -> hashlib._Hash:
    """SHA-256 over so many bytes, read piece by piece: a model need not lie in memory for it."""
    summary = hashlib.sha256()
    while piece := stream.read(min(size_bytes, _PIECE_BYTES)):
        summary.update(piece)
        size_bytes -= len(piece)
    return summary


@contextlib.contextmanager
def draft(target: Path, *, force: bool = False) -> Iterator[Draft]:
    """A draft that is removed on the way out unless it was committed, whatever happens.

    Raises:
        TargetError: at once, where the target cannot become a file.
    """
    try:
        target = target.resolve() if target.is_symlink() else target
        refuse_existing(target, force=force)
    except (OSError, RuntimeError) as error:  # a loop of links; a name that is too long
        reason = getattr(error, "strerror", None) or error
        raise TargetError(
            f"{str(target)[:120]} is no place for a file: {reason}.", hint="Change -o."
        ) from error
    if not target.parent.is_dir():
        raise TargetError(f"The folder {target.parent} does not exist.", hint="Make it first, or change -o.")
    if not os.access(target.parent, os.W_OK):
        raise TargetError(f"The folder {target.parent} is not writable.", hint="Choose another with -o.")
    file = Draft(target, force=force)
    try:
        yield file
    finally:
        file.path.unlink(missing_ok=True)


def link(path: Path, target: Path) -> None:
    """Rename without ever overwriting; a file system without hard links gets the next best."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:
        refuse_existing(target, force=False)
        path.replace(target)


def refuse_existing(target: Path, *, force: bool) -> None:
    """Stop before work is lost.

    Raises:
        TargetError: where the target is a directory, or exists and `force` is not given.
    """
    try:
        there, folder, regular = target.exists(), target.is_dir(), target.is_file()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TargetError(
            f"{str(target)[:80]!r} cannot be a file: {reason}.", hint="Choose another name."
        ) from error
    if folder:
        raise TargetError(f"{target} is a folder.", hint="Give the path of a file.")
    if there and not regular:
        raise TargetError(f"{target} is no regular file.", hint="Choose another name.")
    if there and not force:
        raise TargetError(f"{target} exists.", hint="Overwrite it with --force, or choose another name.")
