"""Results as JSON values; light to import, as every command does it before it knows what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    """A result as JSON values; numbers that JSON cannot write become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {shown(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(entry) for entry in value]
    return value


def shown(text: str) -> str:
    """A file name that is no text shows its bytes, as in CSV: readers of JSON refuse half of a surrogate."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_line(value: Any) -> str:
    """A result as one line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False)
