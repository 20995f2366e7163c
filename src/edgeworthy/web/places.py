"""What others are told names no place of this machine."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

_PLACES = (Path(tempfile.gettempdir()).parent, Path("/tmp"), Path.home(), Path.cwd(), Path(sys.prefix))  # noqa: S108


def without_places(text: str, path: str, name: str) -> str:
    """A text without the file's path, and without others on this machine, those that are cut off included."""
    text = text.replace(path, name)
    above = Path(path).parent
    for place in dict.fromkeys([above, above.parent, Path(tempfile.gettempdir()), *_PLACES]):
        if len(place.parts) > 1:  # "/" begins the names of nodes, too
            text = re.sub(rf"{re.escape(str(place))}(?![\w.-])[^\s'\",;]*", "…", text)
    return text
