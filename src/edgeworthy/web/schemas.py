"""What goes over the wire, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from edgeworthy.contract import MAX_OPSET, MIN_OPSET, Layout
from edgeworthy.evidence import Activation
from edgeworthy.frames import MAX_SIDE_PX, Mode
from edgeworthy.results import Severity


class ProblemBody(BaseModel):
    """What went wrong: RFC 9457, with the next step to take."""

    type: str = Field(description="urn:edgeworthy:problem:SLUG")
    title: str
    status: int
    detail: str
    hint: str
    error: str = Field(description="Detail and hint, for clients of the Open Inference Protocol.")


class Limits(BaseModel):
    """What one request may hold."""

    body_bytes: int
    pixels: int
    pictures: int
    upload_bytes: int


class ModelSummary(BaseModel):
    """A model that is served."""

    name: str
    classes: int
    channels: int
    height_px: int
    width_px: int
    frame: Mode = Field(description="What is done to a picture where no frame is named.")
    frame_source: str


class ModelList(BaseModel):
    """All models that are served, and what the server takes."""

    version: str
    allow_upload: bool
    frames: list[Mode]
    limits: Limits
    models: list[ModelSummary]


class Port(BaseModel):
    """An input or output of the graph."""

    name: str
    dtype: str
    shape: list[int | str]


class FrameFacts(BaseModel):
    """How a picture becomes the input."""

    mode: Mode
    description: str
    source: str


class NormalizationFacts(BaseModel):
    """Mean and standard deviation a channel, for pixels 0..255."""

    mean: list[float]
    std: list[float]


class Card(BaseModel):
    """What a file says of itself."""

    name: str
    file: str
    sha256: str
    size_bytes: int
    opset: int | None
    ir_version: int
    producer: str
    parameters: int
    nodes: int
    operators: dict[str, int]
    inputs: list[Port]
    outputs: list[Port]
    class_names: list[str]
    layout: Layout | None
    channels: int | None
    height_px: int | None
    width_px: int | None
    frame: FrameFacts | None
    normalization: NormalizationFacts | None
    evidence: dict[str, str]
    metadata: dict[str, str]


class FindingFacts(BaseModel):
    """A rule that a file breaks."""

    code: str
    name: str
    severity: Severity
    message: str
    where: str
    why: str


class SkippedRule(BaseModel):
    """A rule that could not be applied, which is not the same as one that passed."""

    code: str
    name: str
    reason: str


class Check(BaseModel):
    """What the rules say of a file."""

    model: str
    conforms: bool
    findings: list[FindingFacts]
    passed: list[str]
    skipped: list[SkippedRule]
    repair: str | None = Field(description="The command that mends it.")


class ScoreFacts(BaseModel):
    """A class and its score; null where the model gives no number."""

    class_id: int
    name: str
    probability: float | None


class Answer(BaseModel):
    """What a model says of a picture in a frame, best class first."""

    model: str
    frame: Mode
    description: str
    chosen_by: str
    scores: list[ScoreFacts]
    image: str | None = Field(description="What the model gets, as a data: address, with images=true.")
    seconds: float


class PictureAnswers(BaseModel):
    """A picture, upright, and what the models say of it: by model, then by frame."""

    name: str
    width_px: int
    height_px: int
    answers: list[Answer]


class UnreadablePicture(BaseModel):
    """One of several pictures that could not be read."""

    name: str
    problem: ProblemBody


class Predictions(BaseModel):
    """In the order of the pictures."""

    pictures: list[PictureAnswers | UnreadablePicture]


class Parity(BaseModel):
    """How far a repaired file's predictions are from the original's."""

    model_config = ConfigDict(extra="allow")

    verdict: Literal["same", "different", "inconclusive"]
    max_abs_diff: float | None


class Change(BaseModel):
    """What a repair did."""

    repair: str
    mends: list[str]
    safety: Literal["safe", "unsafe"]
    message: str


class UploadFacts(BaseModel):
    """A model file that was sent: what it says of itself, and what the rules say of it."""

    id: str
    name: str
    size_bytes: int
    repaired: bool
    card: Card | None
    check: Check | None
    problem: ProblemBody | None
    changes: list[Change] = []
    parity: Parity | None = None


# What a caller sends is read up to the first mistake: a million of them would take a gigabyte to tell.
Names = Annotated[list[StrictStr], Field(min_length=1, max_length=100_000, fail_fast=True)]
Values = Annotated[list[float], Field(min_length=1, max_length=4, fail_fast=True)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Unsafe = Literal["bgr", "softmax-twice", "unit-scale", "numbered-classes"]


class RepairWishes(BaseModel):
    """What the file does not say, or what is wanted otherwise: the options of `edgeworthy repair`."""

    model_config = ConfigDict(extra="forbid")

    classes: Names | Literal["imagenet-1k"] | None = None
    mean: Values | None = None
    std: Values | None = None
    scale: Literal[1, 255] | None = None
    opset: Annotated[int, Field(ge=MIN_OPSET, le=MAX_OPSET)] | None = None
    activation: Activation | None = None
    input_size: tuple[Side, Side, Side] | None = Field(None, description="Channels, height px, width px.")
    output: Annotated[str, Field(max_length=300)] | None = Field(
        None, description="Which of the graph's outputs holds the scores."
    )
    layout: Layout | None = None
    fix_names: bool = False
    strict: bool = False
    allow: Annotated[list[Unsafe], Field(max_length=4, fail_fast=True)] = []


class TensorFacts(BaseModel):
    """A tensor of the Open Inference Protocol, as metadata."""

    name: str
    datatype: str
    shape: list[int]


class ServerFacts(BaseModel):
    """The server, in the words of the Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class ModelFacts(BaseModel):
    """A model, in the words of the Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class Alive(BaseModel):
    """A server that lives."""

    live: bool


class Ready(BaseModel):
    """A server that takes requests."""

    ready: bool


class ModelReady(BaseModel):
    """A model that takes requests."""

    name: str
    ready: bool


class InferInput(BaseModel):
    """A tensor; its values are here, or behind the JSON part."""

    name: StrictStr
    datatype: StrictStr
    shape: Annotated[list[StrictInt], Field(max_length=8, fail_fast=True)]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class WantedOutput(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """A request of the Open Inference Protocol."""

    id: StrictStr | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[InferInput], Field(max_length=4, fail_fast=True)]
    outputs: Annotated[list[WantedOutput], Field(max_length=4, fail_fast=True)] = []


class InferOutput(BaseModel):
    """A tensor; its values are here, or behind the JSON part."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class InferResponse(BaseModel):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]
