"""The Open Inference Protocol (KServe v2): tensors in, scores out, so that existing clients work.

The tensor is what the file takes: float32, normalised. Sources: "Open Inference Protocol", KServe, and for
the binary form "Binary data extension", Triton Inference Server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Path
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from edgeworthy._version import __version__
from edgeworthy.errors import ModelFileError
from edgeworthy.plain import json_line
from edgeworthy.web import schemas
from edgeworthy.web.answering import PROBLEMS, as_json, reference, what_is_wrong
from edgeworthy.web.classifiers import Classifier, failed, find
from edgeworthy.web.problems import ProblemError
from edgeworthy.web.service import Service

_DIGITS = 19  # of a length that is one
_JSON_BYTES, _VALUE_BYTES = 65_536, 32  # of a JSON part: what is around the values, and each of them
_HEAD = "inference-header-content-length"
_VERSION = "1"
_TYPE = "FP32"
_INFER: dict[str, Any] = {
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "Bytes of the JSON part, where a tensor follows; 0 where there is no such part.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": reference(schemas.InferRequest.__name__)}},
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "A JSON part, and the tensor behind it, little-endian.",
                }
            },
        },
    },
}

Name = Annotated[str, Path(description="Of a model, as GET /v1/models lists them.")]


def router(service: Service) -> APIRouter:
    """The endpoints of the protocol."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=PROBLEMS)

    @routes.get("", response_model=schemas.ServerFacts, summary="The server")
    async def server() -> Response:
        return as_json({"name": "edgeworthy", "version": __version__, "extensions": ["binary_tensor_data"]})

    @routes.get("/health/live", response_model=schemas.Alive, summary="Whether the server lives")
    async def live() -> Response:
        return as_json({"live": True})

    @routes.get("/health/ready", response_model=schemas.Ready, summary="Whether it takes requests")
    async def ready() -> Response:
        service.refuse_when_stopping()
        return as_json({"ready": True})

    async def facts(name: Name) -> Response:
        return as_json(_facts(find(service.classifiers, name)))

    async def model_ready(name: Name) -> Response:
        service.refuse_when_stopping()
        return as_json({"name": find(service.classifiers, name).name, "ready": True})

    async def infer(request: Request, name: Name) -> Response:
        classifier = find(service.classifiers, name)
        service.line.refuse_when_full()
        async with service.bodies.whole(request, service.settings.body_bytes) as body:
            with service.line.place():
                service.telemetry.pictures.labels("tensor").inc()
                return await service.line.work(inferred, classifier, body, request.headers.get(_HEAD))

    for prefix in ("/models/{name}", "/models/{name}/versions/1"):
        of = " of a version" if "versions" in prefix else ""
        routes.get(prefix, response_model=schemas.ModelFacts, summary=f"A model's tensors{of}")(facts)
        routes.get(f"{prefix}/ready", response_model=schemas.ModelReady, summary=f"A model is ready{of}")(
            model_ready
        )
        routes.post(
            f"{prefix}/infer",
            response_model=schemas.InferResponse,
            summary=f"Scores for a tensor{of}",
            openapi_extra=_INFER,
        )(infer)
    return routes


def inferred(classifier: Classifier, body: bytes, head_bytes: str | None) -> Response:
    """The answer to the body of an `infer` request.

    Raises:
        ProblemError: where it is no request, or its tensor does not fit the model.
    """
    asked, rest = _asked(classifier, body, head_bytes)
    wanted, binary = _wanted(classifier, asked)
    scores = _scores(classifier, _values(classifier, asked, rest))
    output: dict[str, Any] = {"name": wanted, "datatype": _TYPE, "shape": [1, len(scores)]}
    answer = {"model_name": classifier.name, "model_version": _VERSION}
    if asked.id is not None:
        answer["id"] = asked.id
    if not binary:
        return as_json(answer | {"outputs": [output | {"data": scores.tolist()}]})
    tail = np.asarray(scores, "<f4").tobytes()
    head = json_line(
        answer | {"outputs": [output | {"parameters": {"binary_data_size": len(tail)}}]}
    ).encode()
    return Response(
        head + tail,
        headers={"Inference-Header-Content-Length": str(len(head))},
        media_type="application/octet-stream",
    )


def _facts(classifier: Classifier) -> dict[str, Any]:
    model = classifier.model
    return {
        "name": classifier.name,
        "versions": [_VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": model.picture_port.name, "datatype": _TYPE, "shape": _input_shape(classifier)}],
        "outputs": [
            {"name": model.scores_port.name, "datatype": _TYPE, "shape": [1, len(model.class_names)]}
        ],
    }


def _input_shape(classifier: Classifier) -> list[int]:
    channels, height, width = classifier.model.input_size
    planes = [channels, height, width] if classifier.model.layout == "nchw" else [height, width, channels]
    return [1, *planes]


def _asked(classifier: Classifier, body: bytes, head_bytes: str | None) -> tuple[schemas.InferRequest, bytes]:
    """The request, and the bytes behind its JSON part."""
    if head_bytes is None:
        head_bytes = str(len(body))
    if not head_bytes.isdecimal() or len(head_bytes) > _DIGITS or int(head_bytes) > len(body):
        raise ProblemError(
            "bad-tensor", f"{_HEAD} is {head_bytes[:40]!r}, and the body has {len(body)} bytes."
        )
    length, most = int(head_bytes), _JSON_BYTES + _VALUE_BYTES * math.prod(_input_shape(classifier))
    if length > most:
        raise ProblemError("body-too-large", f"The JSON part has {length} bytes; at most {most} are taken.")
    if length == 0:  # the tensor alone
        only = schemas.InferInput(
            name=classifier.model.picture_port.name,
            datatype=_TYPE,
            shape=_input_shape(classifier),
            parameters={"binary_data_size": len(body)},
        )
        return schemas.InferRequest(inputs=[only], parameters={"binary_data_output": True}), body
    try:
        return schemas.InferRequest.model_validate_json(body[:length]), body[length:]
    except ValidationError as error:
        raise ProblemError("bad-tensor", f"{what_is_wrong(error.errors())}.") from None


def _values(classifier: Classifier, asked: schemas.InferRequest, rest: bytes) -> npt.NDArray[np.float32]:
    """The tensor, float32 of the input's shape."""
    name, shape = classifier.model.picture_port.name, _input_shape(classifier)
    if [given.name for given in asked.inputs] != [name]:
        names = [given.name[:40] for given in asked.inputs][:4]
        raise ProblemError("bad-tensor", f"The inputs are {names}; expected is one, {name!r}.")
    given = asked.inputs[0]
    if given.datatype != _TYPE or given.shape != shape:
        told = f"The tensor is {given.datatype[:20]} {given.shape[:8]}; expected is {_TYPE} {shape}."
        raise ProblemError("bad-tensor", told, hint="The values are normalised pixels.")
    if given.data is None:
        size, expected = given.parameters.get("binary_data_size"), 4 * math.prod(shape)
        if not size == len(rest) == expected:
            told = f"binary_data_size is {str(size)[:20]}, and {len(rest)} bytes follow the JSON part"
            raise ProblemError("bad-tensor", f"{told}; expected are {expected}.")
        return np.frombuffer(rest, "<f4").astype(np.float32, copy=False).reshape(shape)
    if rest:
        raise ProblemError("bad-tensor", f"The input has data, and {len(rest)} bytes follow the JSON part.")
    return _from_json(given.data, shape)


def _from_json(data: Sequence[Any], shape: Sequence[int]) -> npt.NDArray[np.float32]:
    try:
        values = np.asarray(data)
    except (ValueError, TypeError, OverflowError):
        values = np.empty(0, object)
    if values.dtype.kind not in "iuf":  # null, true and "1" would pass for numbers
        raise ProblemError("bad-tensor", "The data are no numbers, or rows of unequal length.")
    if values.size != math.prod(shape) or (values.ndim > 1 and list(values.shape) != list(shape)):
        told = f"The data have the shape {list(values.shape)[:8]}"
        raise ProblemError("bad-tensor", f"{told}; expected is {list(shape)}, or as many values in a row.")
    with np.errstate(over="ignore"):
        return values.astype(np.float32).reshape(shape)


def _scores(classifier: Classifier, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    try:
        return classifier.model.scores(values)
    except ModelFileError as error:
        raise failed(classifier, error) from None


def _wanted(classifier: Classifier, asked: schemas.InferRequest) -> tuple[str, bool]:
    """The output's name, and whether its values go behind the JSON part."""
    name = classifier.model.scores_port.name
    unknown = [output.name for output in asked.outputs if output.name != name]
    if unknown:
        raise ProblemError("bad-tensor", f"There is no output {unknown[0][:80]!r}; there is {name[:200]!r}.")
    if any("classification" in output.parameters for output in asked.outputs):
        raise ProblemError(
            "bad-tensor", "The classification extension is not there.", hint="POST /v1/predict names classes."
        )
    if asked.outputs and "binary_data" in asked.outputs[0].parameters:
        return name, asked.outputs[0].parameters["binary_data"] is True
    return name, asked.parameters.get("binary_data_output") is True
