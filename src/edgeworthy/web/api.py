"""The endpoints /v1: pictures in, classes out; cards and rules; model files to check and mend."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edgeworthy._version import __version__
from edgeworthy.decoding import Decoding
from edgeworthy.frames import MODES, Mode
from edgeworthy.pictures import Picture
from edgeworthy.plain import json_line
from edgeworthy.web import desk, schemas
from edgeworthy.web.answering import PROBLEMS, as_json, reference, what_is_wrong
from edgeworthy.web.classifiers import PictureAnswers, Wanted, answers, chosen, find
from edgeworthy.web.problems import ProblemError
from edgeworthy.web.service import Service
from edgeworthy.web.uploads import Upload, Uploads

_PIECE_BYTES = 2**18  # of a file that is sent
_WISHES_BYTES = 4 * 2**20  # 100,000 class names of 40 letters
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PICTURES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The files of a form, under any names, or one picture as it is.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": _BINARY["schema"], "minItems": 1}},
                    "required": ["file"],
                }
            },
            "image/*": _BINARY,
        },
    }
}
_MODEL: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An ONNX file.",
        "content": {"application/octet-stream": _BINARY},
    }
}

_WISHES: dict[str, Any] = {
    "requestBody": {
        "description": "What the file does not say; empty where it says all that is needed.",
        "content": {"application/json": {"schema": {"$ref": reference(schemas.RepairWishes.__name__)}}},
    }
}

Name = Annotated[str, Path(description="Of a model, as GET /v1/models lists them.")]
Ident = Annotated[str, Path(description="Of a file, as POST /v1/uploads gave it.")]


def router(service: Service) -> APIRouter:
    """The endpoints; those for uploads only where they are allowed."""
    routes = APIRouter(prefix="/v1", responses=PROBLEMS)
    _add_models(routes, service)
    _add_predict(routes, service)
    if service.uploads is not None:
        _add_uploads(routes, service, service.uploads)
    return routes


def _add_models(routes: APIRouter, service: Service) -> None:
    @routes.get("/models", response_model=schemas.ModelList, tags=["models"], summary="All models")
    async def models() -> Response:
        return as_json(_models(service))

    @routes.get("/models/{name}/card", response_model=schemas.Card, tags=["models"])
    async def card(name: Name) -> Response:
        """What the file says of itself: classes, frame, normalisation, versions, evidence."""
        return as_json(await service.card(find(service.classifiers, name)))

    @routes.get("/models/{name}/check", response_model=schemas.Check, tags=["models"])
    async def check(name: Name) -> Response:
        """What the rules of `edgeworthy check` say of the file, and the command that mends it."""
        return as_json(await service.check(find(service.classifiers, name)))


def _models(service: Service) -> dict[str, Any]:
    settings = service.settings
    found = []
    for classifier in service.classifiers.values():
        channels, height, width = classifier.model.input_size
        found.append(
            {
                "name": classifier.name,
                "classes": len(classifier.model.class_names),
                "channels": channels,
                "height_px": height,
                "width_px": width,
                "frame": classifier.frame.mode,
                "frame_source": classifier.chosen_by,
            }
        )
    limits = {name: getattr(settings, name) for name in schemas.Limits.model_fields}
    return {
        "version": __version__,
        "allow_upload": settings.allow_upload,
        "frames": MODES,
        "limits": limits,
        "models": found,
    }


def _add_predict(routes: APIRouter, service: Service) -> None:
    @routes.post("/predict", response_model=schemas.Predictions, tags=["predict"], openapi_extra=_PICTURES)
    async def predict(
        request: Request,
        *,
        model: Annotated[list[str], Query(description="Ask these; all of them if left out.")] = [],  # noqa: B006
        frame: Annotated[list[Mode], Query(description="In these; each model's own if left out.")] = [],  # noqa: B006
        top_k: Annotated[int, Query(ge=1, le=100_000, description="Classes to give.")] = 5,
        threshold: Annotated[
            float | None, Query(ge=0, le=1, description="Leave out smaller probabilities.")
        ] = None,
        images: Annotated[bool, Query(description="Give what the models get, too.")] = False,
        name: Annotated[str, Query(max_length=300, description="Of a picture sent raw.")] = "picture",
    ) -> Response:
        """Classify one or several pictures with one or several models, in one or several frames."""
        modes: list[Mode] | list[None] = list(dict.fromkeys(frame)) or [None]
        asks = [(one, mode) for one in chosen(service.classifiers, model) for mode in modes]
        wanted = Wanted(asks=tuple(asks), top_k=top_k, threshold=threshold, images=images)
        settings = service.settings
        service.line.refuse_when_full()
        async with service.bodies.pictures(
            request, settings.body_bytes, settings.pictures, name=name
        ) as pictures:
            with service.line.place():
                told = await _answered(service, pictures, wanted)
        return Response(f'{{"pictures": [{", ".join(told)}]}}', media_type="application/json")


async def _answered(service: Service, pictures: list[Picture], wanted: Wanted) -> list[str]:
    """What is said of each, as JSON; of one that is alone and cannot be read, its problem is the call's."""

    async def one(picture: Picture) -> str:
        try:
            found, text = await service.line.work(_told, picture, wanted, service.decoding)
        except ProblemError as problem:
            if problem.slug == "unreadable-picture":
                service.telemetry.pictures.labels("unreadable").inc()
            if len(pictures) == 1 or problem.status != 422:
                raise
            return json_line({"name": picture.name, "problem": problem.body})
        service.telemetry.pictures.labels("classified").inc()
        for answer in found.answers:
            service.telemetry.model_seconds.labels(answer.model).observe(answer.seconds)
        return text

    tasks = [asyncio.ensure_future(one(picture)) for picture in pictures]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # what is not begun when one of them ends the call
            task.cancel()


def _told(picture: Picture, wanted: Wanted, decoding: Decoding) -> tuple[PictureAnswers, str]:
    """The answers, and their text, which is made on the session's thread."""
    found = answers(picture, wanted, decoding)
    return found, json_line(found)


def _add_uploads(routes: APIRouter, service: Service, uploads: Uploads) -> None:
    @routes.post(
        "/uploads",
        status_code=201,
        response_model=schemas.UploadFacts,
        tags=["uploads"],
        openapi_extra=_MODEL,
    )
    async def send(
        request: Request,
        name: Annotated[str, Query(description="Of the file.", max_length=300)] = "model.onnx",
    ) -> Response:
        """Send an ONNX file to be checked; it is kept for a while, and never run in the server's process."""
        settings = service.settings
        pieces = service.bodies.pieces(request, settings.upload_bytes, timeout_s=10 * settings.timeout_s)
        upload = await uploads.receive(name, pieces)
        async with uploads.trial(upload):
            facts = await _looked_at(service, upload)
        return as_json(facts, 201)

    @routes.post(
        "/uploads/{ident}/repair",
        response_model=schemas.UploadFacts,
        tags=["uploads"],
        openapi_extra=_WISHES,
    )
    async def repair(request: Request, ident: Ident) -> Response:
        """Mend a file that was sent, proven to predict the same; where that fails, it stays as it was."""
        uploads.find(ident)
        async with service.bodies.whole(request, _WISHES_BYTES) as body:
            wishes = await service.line.work(_wishes, body)
        upload = uploads.find(ident)  # it may have been taken away meanwhile
        with upload.held():
            draft = upload.path.with_name("mended.onnx")
            told = wishes.model_dump(exclude_none=True)
            done = await service.uploads_office.call(desk.mended, upload.path, upload.name, str(draft), told)
            draft.replace(upload.path)
            upload.repaired = upload.repaired or bool(done["changes"])
            news = {"changes": done["changes"], "parity": done["parity"]}
            facts = await _looked_at(service, upload, check=done["check"] | {"model": upload.name})
            return as_json(facts | news)

    @routes.get(
        "/uploads/{ident}/file",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/octet-stream": _BINARY}, "description": "The ONNX file."}},
        tags=["uploads"],
    )
    async def fetch(ident: Ident) -> Response:
        """The file as it is now."""
        return _as_file(uploads.find(ident))

    @routes.delete("/uploads/{ident}", status_code=204, tags=["uploads"])
    async def forget(ident: Ident) -> Response:
        """Take the file away."""
        upload = uploads.find(ident)
        with upload.held():
            uploads.forget(upload)
        return Response(status_code=204)


def _as_file(upload: Upload) -> Response:
    """A download of the file as it is now, whatever becomes of it meanwhile."""
    stream = upload.path.open("rb")
    headers = {
        "Content-Length": str(os.fstat(stream.fileno()).st_size),
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(upload.name)}",
    }

    def pieces() -> Iterator[bytes]:
        with stream:
            yield from iter(lambda: stream.read(_PIECE_BYTES), b"")

    return StreamingResponse(pieces(), headers=headers, media_type="application/octet-stream")


def _wishes(body: bytes) -> schemas.RepairWishes:
    try:
        return schemas.RepairWishes.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise ProblemError("invalid-request", f"{what_is_wrong(error.errors())}.") from None


async def _looked_at(service: Service, upload: Upload, check: Any = None) -> dict[str, Any]:
    """What the file says of itself, and what the rules say, unless that is known."""
    facts: dict[str, Any] = {
        "id": upload.id,
        "name": upload.name,
        "size_bytes": upload.size_bytes,
        "repaired": upload.repaired,
        "card": None,
        "check": check,
        "problem": None,
    }
    try:
        card = await service.uploads_office.call(desk.card, upload.path, upload.name)
        facts["card"] = card | {"name": upload.name}
        if check is None:
            found = await service.uploads_office.call(desk.report, upload.path, upload.name)
            facts["check"] = found | {"model": upload.name}
    except ProblemError as problem:
        if problem.slug != "check-failed":
            raise
        facts["problem"] = problem.body
    return facts
