"""How answers are written, and what every operation may answer besides its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from edgeworthy.plain import json_line
from edgeworthy.web.problems import MEDIA_TYPE
from edgeworthy.web.schemas import ProblemBody


def reference(schema: str) -> str:
    """To a schema among the description's components."""
    return f"#/components/schemas/{schema}"


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What went wrong, and the next step to take.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": reference(ProblemBody.__name__)}}},
    }
}


def what_is_wrong(errors: Sequence[Any]) -> str:
    """What pydantic says of values, without repeating them."""
    told = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in errors[:5]]
    return "; ".join(told)[:500]


def as_json(value: Any, status: int = 200) -> Response:
    """A result as JSON; numbers that JSON cannot write are null."""
    return Response(json_line(value), status, media_type="application/json")
