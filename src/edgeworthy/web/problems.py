"""What callers are told when something is wrong: RFC 9457, application/problem+json.

The member `error` repeats it for clients of the Open Inference Protocol, which look for that one.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from edgeworthy.plain import json_line

MEDIA_TYPE = "application/problem+json"

# slug: (HTTP status, title)
KINDS = {
    "bad-tensor": (400, "The tensors do not fit the model"),
    "invalid-request": (422, "The request does not fit its description"),
    "key-needed": (401, "A key is needed"),
    "foreign-origin": (403, "The call comes from another site"),
    "unknown-host": (421, "This server is not called that"),
    "not-found": (404, "There is nothing here"),
    "no-such-model": (404, "No model has this name"),
    "no-such-upload": (404, "No uploaded file has this id"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "slow-body": (408, "The body took too long to arrive"),
    "model-changed": (409, "The file has changed since it was loaded"),
    "upload-in-use": (409, "The file is being worked on"),
    "body-too-large": (413, "The body is too large"),
    "bad-body": (400, "The body cannot be read"),
    "coded-body": (415, "The body is compressed"),
    "unreadable-picture": (422, "The picture cannot be read"),
    "unreadable-model": (422, "The file is no ONNX model"),
    "cannot-repair": (422, "The file cannot be repaired like this"),
    "model-failed": (422, "The model cannot answer"),
    "check-failed": (422, "The file cannot be examined"),
    "busy": (429, "The server is busy"),
    "unforeseen": (500, "Something went wrong"),
    "stopping": (503, "The server is stopping"),
    "too-late": (504, "The answer took too long"),
}


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        slug: one of `KINDS`.
        detail: the offending value and what was expected.
        hint: the next step to take.
        headers: of the answer.
        members: further ones of the body.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        hint: str = "",
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.slug, self.detail, self.hint, self.members = slug, detail, hint, members
        self.status, self.title = KINDS[slug]
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The members of the JSON object."""
        return {
            "type": f"urn:edgeworthy:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "error": f"{self.detail} {self.hint}".rstrip(),
            **self.members,
        }

    def response(self) -> Response:
        """As an answer."""
        return Response(json_line(self.body), self.status, self.headers, MEDIA_TYPE)


def busy(detail: str, after_s: float) -> ProblemError:
    """Too much at once: come back later."""
    return ProblemError(
        "busy", detail, hint="Try again later.", headers={"Retry-After": str(max(1, round(after_s)))}
    )
