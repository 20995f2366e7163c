"""What a file or folder is: told from its first bytes and the names inside it, never by its suffix."""

from __future__ import annotations

import itertools
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from edgeworthy.errors import SourceError, first_line

Kind = Literal[
    "torchscript",
    "program",
    "old program",
    "pickle",
    "safetensors",
    "timm",
    "transformers",
    "onnx",
    "foreign",
]

UNKNOWN = "none of the model files that are known"

_HEAD_BYTES = 4096
_ZIP_END_BYTES = 65_536 + 22 + 76  # the longest comment, the end record, and zip64's locator and record
_MAX_DIRECTORY_BYTES = 4 << 20
_MAX_UNPACKED = 4  # times the file's size; what torch writes is not compressed
_MAX_CONFIG_BYTES = 4 << 20
_MAX_NAMES = 4096
_MAX_SAFETENSORS_HEADER = 100_000_000  # safetensors' own bound
_FIXED = {1: 8, 5: 4}  # bytes of protobuf's wire types of one length
_ONNX_GRAPH, _COREML_MODELS = 7, 200  # field numbers of onnx.ModelProto.graph and CoreML's Model.Type

_TO_ONNX = "Turn it into ONNX with its own tools, then mend that file with: edgeworthy repair FILE."
_MEND = "Look at it with: edgeworthy check FILE; mend it with: edgeworthy repair FILE."
_TF = "Turn it into ONNX with tf2onnx, then mend that file with: edgeworthy repair FILE."
_UNPACK = "Unpack it, and give the model inside."
_SAVED = "Give a file as torch.save writes it."
_AGAIN = "Copy or download it again."
_ITS_SOURCE = "Give the PyTorch model that it was made from."

_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer; the model itself is not here",
     "Fetch it with: git lfs pull"),
    (0, b"\x89HDF\r\n\x1a\n", "a Keras model or another HDF5 file", _TF),
    (4, b"TFL3", "a TensorFlow Lite model", _TF),
    (0, b"GGUF", "a GGUF file, as llama.cpp has them", "It holds no image classifier."),
    (0, b"7767517\n", "an NCNN model", _ITS_SOURCE),
    (0, b"ftrt", "a TensorRT engine, made for one GPU", _ITS_SOURCE),
    (0, b"\x93NUMPY", "a NumPy array", _SAVED),
    (0, b"\x1f\x8b", "a compressed archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a compressed archive", _UNPACK),
    (0, b"Rar!\x1a", "a compressed archive", _UNPACK),
    (0, b"\xfd7zXZ\x00", "a compressed archive", _UNPACK),
    (0, b"BZh", "a compressed archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a compressed archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x89PNG", "a picture", _SAVED),
    (0, b"\xff\xd8\xff", "a picture", _SAVED),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a file or folder is.

    Attributes:
        kind: which road leads from it; `foreign` where none does.
        what: in words, as in "best.pt is a TorchScript archive".
        hint: for what no road of export leads from, the next step.
    """

    kind: Kind
    what: str
    hint: str = ""


def examine(path: Path) -> Finding:
    """Tell what a file or folder is; of a folder's files `config.json` alone is read.

    Raises:
        SourceError: where it cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _folder(path)
        if not stat.S_ISREG(mode):
            return _foreign("neither a file nor a folder", "Give the path of a model file or folder.")
        return _file(path)
    except OSError as error:
        raise SourceError(
            f"{path.name!r} cannot be read: {error.strerror or error}.", hint="Check its permissions."
        ) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header, and the header.

    https://huggingface.co/docs/safetensors/index#format
    """
    with path.open("rb") as stream:
        return _begins_safetensors(stream.read(9))


def _begins_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= _MAX_SAFETENSORS_HEADER


def _foreign(what: str, hint: str) -> Finding:
    return Finding(kind="foreign", what=what, hint=hint)


def _file(path: Path) -> Finding:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        return _foreign("empty", _AGAIN)
    for offset, magic, what, hint in _MAGIC:
        if head.startswith(magic, offset):
            return _foreign(what, hint)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    if head[:1] == b"\x80" and 2 <= head[1] <= 5:
        return Finding(kind="pickle", what="a pickle, as torch.save writes them")
    if _begins_safetensors(head):
        return Finding(kind="safetensors", what="a safetensors file")
    return _protobuf(path) or _text(head) or _foreign(UNKNOWN, _TO_ONNX)


def _zip(path: Path) -> Finding:
    try:
        entries = _entries(path)
    except OSError:
        raise
    except Exception as error:  # zipfile raises half a dozen kinds
        return _foreign(f"a zip archive that is cut off or damaged ({first_line(error)})", _AGAIN)
    if entries is None:
        return _foreign(
            "a zip archive of a size that no model has", "Give an archive as torch.save writes it."
        )
    inner = {name.partition("/")[2] for name in entries}
    for kind, what, hint, applies in _ARCHIVES:
        if applies(entries, inner):
            return Finding(kind=kind, what=what, hint=hint)
    return _foreign("a zip archive without a model that is known", _UNPACK)


def _entries(path: Path) -> set[str] | None:
    """The names in a zip archive; None where it has too many of them, or unpacks to too much."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _ZIP_END_BYTES))
        if _directory_bytes(stream.read()) > _MAX_DIRECTORY_BYTES:
            return None
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MAX_UNPACKED * size:
            return None
        return set(archive.namelist())


def _directory_bytes(end: bytes) -> int:
    """The size of a zip's central directory, which is read whole into memory (APPNOTE 4.3.14, 4.3.16)."""
    place = end.rfind(b"PK\x05\x06")
    if place < 0:
        raise zipfile.BadZipFile("its directory is missing")
    if end[place - 20 :].startswith(b"PK\x06\x07") and place >= 76:
        return int(struct.unpack_from("<Q", end, place - 76 + 40)[0])
    return int(struct.unpack_from("<L", end, place + 12)[0])


def _begins(names: set[str], folder: str) -> bool:
    return any(name.startswith(folder) for name in names)


_ARCHIVES: tuple[tuple[Kind, str, str, Callable[[set[str], set[str]], bool]], ...] = (
    ("foreign", "an AOTInductor package, compiled for one machine", _ITS_SOURCE,
     lambda _, inner: _begins(inner, "data/aotinductor/")),
    ("foreign", "a torch.package archive, which is Python code",
     "Load it yourself, and give the model from a callable: path/to/file.py:callable.",
     lambda _, inner: ".data/extern_modules" in inner),
    ("old program", "a torch.export program as torch 2.7 and older write it", "",
     lambda names, _: "serialized_exported_program.json" in names),
    ("program", "a torch.export program", "",
     lambda _, inner: "archive_format" in inner and _begins(inner, "models/")),
    ("torchscript", "a TorchScript archive", "",
     lambda _, inner: "constants.pkl" in inner and _begins(inner, "code/")),
    ("pickle", "a zip archive, as torch.save writes it", "",
     lambda _, inner: "data.pkl" in inner),
    ("foreign", "a Keras model", _TF,
     lambda names, _: {"config.json", "metadata.json"} <= names),
    ("foreign", "a TorchServe archive", _UNPACK,
     lambda names, _: "MAR-INF/MANIFEST.json" in names),
    ("foreign", "a NumPy archive", _SAVED,
     lambda names, _: bool(names) and all(name.endswith(".npy") for name in names)),
)  # fmt: skip


def _protobuf(path: Path) -> Finding | None:
    with path.open("rb") as stream:
        fields = list(itertools.islice(_fields(stream, path.stat().st_size), _MAX_NAMES))
    if fields[:1] != [1]:
        return None
    if _ONNX_GRAPH in fields:
        return Finding(kind="onnx", what="an ONNX model already", hint=_MEND)
    if max(fields) >= _COREML_MODELS:
        return _foreign("a Core ML model", _ITS_SOURCE)
    return None


def _fields(stream: BinaryIO, size: int) -> Iterator[int]:
    """The numbers of a protobuf message's fields, in order, as far as it goes; what they hold is skipped.

    https://protobuf.dev/programming-guides/encoding/
    """
    while (key := _varint(stream)) is not None:
        number, wire = key >> 3, key & 7
        value = _FIXED.get(wire) or (_varint(stream) if wire in {0, 2} else None)
        if not number or value is None:
            return
        yield number
        if wire:
            stream.seek(min(value, size), os.SEEK_CUR)


def _varint(stream: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _text(head: bytes) -> Finding | None:
    text = head.decode("utf-8", "ignore").lstrip("\ufeff").lstrip().lower()
    if b"\0" in head or len(head.decode("utf-8", "ignore").encode()) < len(head) - 3:
        return None
    if text.startswith(("<!doctype html", "<html")):
        return _foreign("a web page, as a download leaves it that went wrong", "Download the model again.")
    if text.startswith("<?xml") and "<net " in text:
        return _foreign("an OpenVINO model", _ITS_SOURCE)
    return _foreign(
        "a text file",
        "Give what torch.save writes; of a Python file, name what builds the model, too: "
        "path/to/file.py:callable.",
    )


def _folder(path: Path) -> Finding:
    with os.scandir(path) as entries:
        names = {entry.name for entry in itertools.islice(entries, _MAX_NAMES)}
    config = _config(path / "config.json") if "config.json" in names else {}
    if isinstance(config.get("architecture"), str) or isinstance(config.get("pretrained_cfg"), dict):
        return Finding(kind="timm", what="a folder as timm saves it")
    if isinstance(config.get("model_type"), str):
        return Finding(kind="transformers", what="a folder as transformers saves it")
    if "saved_model.pb" in names:
        return _foreign("a TensorFlow SavedModel", _TF)
    if "Manifest.json" in names and "Data" in names:
        return _foreign("a Core ML package", _ITS_SOURCE)
    return _foreign(
        "a folder without a model that is known",
        "Looked for: config.json with timm's architecture or pretrained_cfg, config.json with transformers' "
        f"model_type.{_inside(names)}",
    )


def _inside(names: set[str]) -> str:
    """A file that may be meant instead."""
    likely = sorted(name for name in names if name.endswith((".pt", ".pth", ".pt2", ".safetensors")))
    return f" It has {likely[0]!r}: give that file." if likely else ""


def _config(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(_MAX_CONFIG_BYTES + 1))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
