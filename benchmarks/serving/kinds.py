"""The mixture of `serve.py mixed`: what is sent, how often, and what the server may say to it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .bodies import MB, blank, encoded, enlarged, header_alone, long_text
from .client import Pieces, head, multipart, posted

UNREADABLE, MALFORMED = frozenset({422}), frozenset({400, 413, 415, 422})
OK, TOO_LARGE, BUSY = frozenset({200}), frozenset({413}), 429
PIXELS = 7_900  # a side of the largest square that is still read: the limit is 64 million pixels
LARGE_PX = 3_000
TRICKLE_S = 4.0  # for a body
FOREVER_S = 1e6
NESTED = 100_000  # brackets
HUGE = 40 * MB
TOO_MANY = 65  # pictures in a form

Request = bytes | Pieces


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of request.

    Attributes:
        name: as the table calls it.
        statuses: what the server may answer; that it is busy is always allowed.
        requests: of this sort.
        classes: the best class of each request's picture, where it is known.
        weight: how often it comes.
        may_drop: whether the connection may end without an answer, as nobody reads 40 MB to refuse them.
        hangs_up: whether we do not wait for the answer.
    """

    name: str
    statuses: frozenset[int]
    requests: Sequence[Request]
    classes: Sequence[int] = ()
    weight: float = 1.0
    may_drop: bool = False
    hangs_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The model's input, as the server's KServe metadata give it."""

    model: str
    name: str
    shape: tuple[int, ...]


PREDICT = "/v1/predict"


def mixture(photographs: list[Path], classes: list[int], port: Port) -> list[Kind]:
    """All kinds; `classes` are the best ones of the photographs."""
    jpegs = [path.read_bytes() for path in photographs]
    return [
        *_good(photographs, jpegs, classes),
        *_broken(jpegs[0]),
        *_huge(jpegs[0]),
        *_bombs(),
        *_forms(jpegs),
        *_questions(jpegs[0]),
        *_tensors(port),
        *_slow(jpegs, classes),
        *_rude(jpegs[0]),
    ]


def _raw(*bodies: bytes, form: str = "image/jpeg", query: str = "") -> list[Request]:
    return [posted(PREDICT + query, body, form) for body in bodies]


def _form(*pictures: bytes) -> bytes:
    return posted(PREDICT, *multipart([(f"{i}.jpg", one) for i, one in enumerate(pictures)]))


def _good(photographs: list[Path], jpegs: list[bytes], classes: list[int]) -> list[Kind]:
    pngs = [encoded(Image.open(path).convert("RGB"), "PNG") for path in photographs[:4]]
    camera = [enlarged(path, LARGE_PX) for path in photographs[:3]]
    called_text = _raw(jpegs[0], form="text/plain")
    return [
        Kind("photograph in a form", OK, [_form(one) for one in jpegs], classes=classes, weight=30),
        Kind("photograph as it is", OK, _raw(*jpegs), classes=classes, weight=15),
        Kind("PNG", OK, _raw(*pngs), classes=classes[:4], weight=3),
        Kind(f"photograph of {LARGE_PX} px", OK, _raw(*camera), weight=3),
        Kind("photograph called text", OK, called_text, classes=classes[:1]),
    ]


def _broken(jpeg: bytes) -> list[Kind]:
    noise = jpeg[:200] + bytes(byte ^ 0x5A for byte in jpeg[200:])
    others = _raw(b"<html>nothing here</html>" * 40, bytes(50_000), b"\xff\xd8\xff")
    return [
        Kind("truncated JPEG", UNREADABLE, _raw(jpeg[: len(jpeg) // 2], jpeg[:100]), weight=3),
        Kind("overwritten JPEG", UNREADABLE | OK, _raw(noise), weight=3),
        Kind("no picture", UNREADABLE, others, weight=3),
        Kind("empty body", MALFORMED, _raw(b"")),
        Kind("JSON in place of a picture", MALFORMED, _raw(b'{"picture": "cat"}', form="application/json")),
    ]


def _huge(jpeg: bytes) -> list[Kind]:
    begun = head("POST", PREDICT, "Content-Type: image/jpeg")[:-2]  # more lines may follow
    filling = [jpeg + bytes(MB - len(jpeg))] + [bytes(MB)] * (HUGE // MB - 1)
    chunks = [b"%x\r\n%b\r\n" % (len(one), one) for one in filling] + [b"0\r\n\r\n"]
    declared = _pieces(begun + b"Content-Length: %d\r\n\r\n" % HUGE, *filling)
    chunked = _pieces(begun + b"Transfer-Encoding: chunked\r\n\r\n", *chunks)
    length = b"Content-Length: %d\r\n\r\n" % 10**12
    vast = _pieces(begun + length + jpeg, b"", pause_s=FOREVER_S)  # the rest never comes
    return [
        Kind("40 MB, declared", TOO_LARGE, [declared], may_drop=True),
        Kind("40 MB, in chunks", TOO_LARGE, [chunked], may_drop=True),
        Kind("1 TB, declared", TOO_LARGE, [vast], may_drop=True),
    ]


def _bombs() -> list[Kind]:
    claimed = _raw(header_alone(50_000, 50_000), form="image/png")
    above = _raw(blank(20_000, 20_000, bits=1), form="image/png")
    below = _raw(blank(PIXELS, PIXELS), form="image/png")
    text = _raw(long_text(100 * MB), form="image/png")
    return [
        Kind("PNG header of 50,000 x 50,000 px", UNREADABLE, claimed, weight=2),
        Kind("blank PNG of 20,000 x 20,000 px", UNREADABLE, above, weight=2),
        Kind(f"blank PNG of {PIXELS:,} x {PIXELS:,} px", OK, below, weight=0.3),
        Kind("PNG with 100 MB of text", UNREADABLE | OK, text, weight=2),
    ]


def _forms(jpegs: list[bytes]) -> list[Kind]:
    body, form = multipart([("a.jpg", jpegs[0])])
    foreign = [posted(PREDICT, body, f"multipart/form-data{more}") for more in ("", "; boundary=another")]
    return [
        Kind("form of four, one broken", OK, [_form(*jpegs[:3], jpegs[0][:500])], weight=2),
        Kind(f"form of {TOO_MANY}", MALFORMED, [_form(*[jpegs[0][:500]] * TOO_MANY)]),
        Kind("form without files", MALFORMED, [_form()]),
        Kind("form that ends early", MALFORMED, [posted(PREDICT, body[:-200], form)]),
        Kind("form without its boundary", MALFORMED, foreign),
    ]


def _questions(jpeg: bytes) -> list[Kind]:
    wrong = ("top_k=0", "top_k=many", "threshold=high", "frame=oval")
    absent = ("/nowhere", "/v1/models/nobody/card", "/static/../../etc/passwd")
    long_line = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * MB + b"\r\n\r\n"
    return [
        Kind("wrong query", MALFORMED, [_raw(jpeg, query=f"?{one}")[0] for one in wrong]),
        Kind("unknown model", frozenset({404, 422}), _raw(jpeg, query="?model=nobody")),
        Kind("unknown address", frozenset({404}), [head("GET", path) for path in absent]),
        Kind("wrong method", frozenset({405}), [head("GET", PREDICT)]),
        Kind("no HTTP", frozenset({400, 431}), [b"HELLO\r\n\r\n", long_line], may_drop=True),
    ]


def _tensors(port: Port) -> list[Kind]:
    data = [round(i % 97 / 97, 3) for i in range(math.prod(port.shape))]
    few = {"name": port.name, "shape": (1, 3, 10, 10), "datatype": "FP32", "data": data[:300]}
    wrong = [
        few,
        {**few, "shape": port.shape},
        {**few, "shape": (1, 3, 10**9, 10**9)},
        {**few, "shape": (-1,)},
        {**few, "datatype": "BYTES"},
        {**few, "name": "nobody"},
        {**few, "data": "text"},
        {**few, "shape": (1, 1), "data": [["a", None]]},
    ]
    no_json = [b'{"inputs": []}', b"[1, 2", b"[" * NESTED + b"]" * NESTED, b"\xff\xfe\x00"]

    def asked(body: bytes) -> bytes:
        return posted(f"/v2/models/{port.model}/infer", body, "application/json")

    def holding(tensor: dict[str, Any]) -> bytes:
        return asked(json.dumps({"inputs": [tensor]}).encode())

    whole = holding({**few, "shape": port.shape, "data": data})
    return [
        Kind("KServe tensor", OK, [whole]),
        Kind("KServe tensor, wrong", MALFORMED, [*map(holding, wrong), *map(asked, no_json)], weight=4),
    ]


def _slow(jpegs: list[bytes], classes: list[int]) -> list[Kind]:
    trickles = [trickled(posted(PREDICT, one, "image/jpeg")) for one in jpegs]
    lines = (f"Content-Length: {len(jpegs[0])}", "Expect: 100-continue")
    waits = _pieces(head("POST", PREDICT, "Content-Type: image/jpeg", *lines), jpegs[0], pause_s=0.2)
    return [
        Kind(f"body in {TRICKLE_S:.0f} s", OK | {408}, trickles, classes=classes, weight=2),
        Kind("body after 100 Continue", OK, [waits], classes=classes[:1]),
    ]


def _rude(jpeg: bytes) -> list[Kind]:
    whole = posted(PREDICT, jpeg, "image/jpeg")
    half = whole[: len(whole) // 2]
    soon, later = [half, _pieces(half, b"", pause_s=0.5)], [whole, _pieces(whole, b"", pause_s=0.05)]
    return [
        Kind("hangs up in mid-body", OK, soon, weight=2, hangs_up=True),
        Kind("hangs up before the answer", OK, later, weight=2, hangs_up=True),
    ]


def _pieces(*pieces: bytes, pause_s: float = 0.0) -> Pieces:
    async def sent() -> AsyncIterator[bytes]:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause_s)
            yield piece

    return sent


def trickled(request: bytes, seconds: float = TRICKLE_S, number: int = 20) -> Pieces:
    """The request in so many pieces over so long."""
    step = -(-len(request) // number)
    parts = [request[at : at + step] for at in range(0, len(request), step)]
    return _pieces(*parts, pause_s=seconds / number)
