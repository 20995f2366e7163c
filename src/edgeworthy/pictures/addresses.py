"""Pictures in object storage and elsewhere: addresses such as `s3://bucket/photos/`, by fsspec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from edgeworthy.errors import ImageError, MissingExtraError, first_line

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[^/]+)?://")
_MOST_BYTES = 2**30  # of one picture
_REACH = "Is the address right, the place to be reached, and are its credentials set?"


def is_address(text: object) -> bool:
    """Whether it begins as `s3://` does."""
    return isinstance(text, str) and bool(_ADDRESS.match(text))


def absolute(path: str) -> str:
    """Where processes in other folders find a file; an address is the same everywhere."""
    return path if is_address(path) else os.path.abspath(path)  # noqa: PTH100 - links stay


def read_address(address: str) -> bytes:
    """What lies there.

    Raises:
        ImageError: where nothing does, or it cannot be had.
        MissingExtraError: where fsspec is not installed.
    """
    system, path = _at(address)
    try:
        with system.open(path, "rb") as stream:
            content: bytes = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageError(f"{address} is not there.") from error
    except Exception as error:  # of any storage's library
        raise ImageError(f"{address} cannot be read: {first_line(error)}.") from error
    if len(content) > _MOST_BYTES:
        raise ImageError(f"{address} has more than {_MOST_BYTES >> 20} MiB.")
    return content


def addresses_at(entry: str, suffixes: frozenset[str]) -> Iterator[str]:
    """The address itself, what a pattern matches, or the pictures below a folder; sorted.

    Raises:
        ImageError: where the place cannot be listed.
        MissingExtraError: where fsspec is not installed.
    """
    system, path = _at(entry)
    try:
        if "*" in path or "?" in path:
            found = [name for name in system.glob(path) if "/." in path or not _hidden(name, "")]
        elif system.isdir(path):
            found = [
                name
                for name in system.find(path)
                if os.path.splitext(name)[1].lower() in suffixes and not _hidden(name, path)  # noqa: PTH122
            ]
        else:
            found = [path]
    except Exception as error:  # of any storage's library
        told = first_line(error).rstrip(".")
        raise ImageError(f"{entry} cannot be listed: {told}.", hint=_REACH) from error
    return (str(system.unstrip_protocol(name)) for name in sorted(found))


def _hidden(name: str, folder: str) -> bool:
    return any(part.startswith(".") for part in name.removeprefix(folder).split("/"))


def _at(address: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("fsspec", "remote") from error
    try:
        system, path = url_to_fs(address)
    except ImportError as error:  # names the package, such as s3fs
        raise ImageError(f"{address} cannot be reached: {first_line(error)}.") from error
    except Exception as error:
        raise ImageError(f"{address} is no address that can be read: {first_line(error)}.") from error
    return system, str(path)
