"""The files that a server answers from, and what a picture comes to."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edgeworthy.contract import Normalization
from edgeworthy.decoding import Decoding
from edgeworthy.errors import ImageError, ModelFileError
from edgeworthy.filemodel import FileModel
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import Pixels, frame_picture, open_picture, upright_size
from edgeworthy.memory import give_back
from edgeworthy.pictures import Picture
from edgeworthy.plain import shown
from edgeworthy.predictor import ranked
from edgeworthy.results import Score
from edgeworthy.runtime import Provider
from edgeworthy.web.places import without_places
from edgeworthy.web.problems import ProblemError

_LARGE_PX = 4000  # a side of a picture after which freed memory is handed back, which takes milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A loaded file.

    Attributes:
        name: that callers use.
        model: ready for pictures.
        frame, chosen_by: what is done to them unless a call says otherwise, and who said so.
    """

    name: str
    model: FileModel
    frame: Frame
    chosen_by: str

    def framing(self, mode: Mode | None) -> tuple[Frame, str]:
        """How pictures meet the input, in a mode or the one that is set."""
        return (self.frame, self.chosen_by) if mode is None else self.model.frame(mode)

    def refuse_change(self) -> None:
        """Stop where the file is no longer what was loaded.

        Raises:
            ProblemError: then.
        """
        if self.model.is_stale:
            raise ProblemError(
                "model-changed",
                f"{self.name} has changed on the disk since it was loaded.",
                hint="Start the server again.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller wants to know of each picture.

    Attributes:
        asks: which classifiers, in which modes; None is the classifier's own.
        top_k, threshold: which classes.
        images: whether the framed pictures, too.
    """

    asks: tuple[tuple[Classifier, Mode | None], ...]
    top_k: int | None
    threshold: float | None
    images: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says of a picture in a frame.

    Attributes:
        model: its name.
        frame, description, chosen_by: what was done to the picture, and who said so.
        scores: best first.
        image: what the model gets, as a data: address, where that was wanted.
        seconds: of the model's run.
    """

    model: str
    frame: Mode
    description: str
    chosen_by: str
    scores: tuple[Score, ...]
    image: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureAnswers:
    """What models say of a picture: its name, its size upright, and the answers by model, then by frame."""

    name: str
    width_px: int
    height_px: int
    answers: tuple[Answer, ...]


def load(
    files: Sequence[Path],
    *,
    frame: Mode | None = None,
    normalization: Normalization | None = None,
    jobs: int,
    threads: int,
    provider: Provider = "cpu",
) -> dict[str, Classifier]:
    """The classifiers of files, by name; each has answered once, so that the first caller need not wait.

    Raises:
        ModelFileError: where a file is no classifier of pictures.
        OptionError: where it does not say how pixels are normalised, and neither does the caller.
    """
    loaded = {}
    for name, file in _named(files):
        model = FileModel(file, normalization=normalization, jobs=jobs, threads=threads, provider=provider)
        model.count_classes()
        own, chosen_by = model.frame(frame)
        loaded[name] = Classifier(name=name, model=model, frame=own, chosen_by=chosen_by)
    return loaded


def _named(files: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """By the files' names without the ending; the second of a name gets a number."""
    taken: set[str] = set()
    for file in files:
        stem = shown(file.stem).replace("/", "-")
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        yield name, file


def answers(picture: Picture, wanted: Wanted, decoding: Decoding) -> PictureAnswers:
    """What classifiers say of a picture, which is decoded once.

    Raises:
        ProblemError: where it cannot be read, or a model fails on it.
    """
    asks = [(classifier, *classifier.framing(mode)) for classifier, mode in wanted.asks]
    frames = [frame for _, frame, _ in asks]
    size, decoded, framed = (0, 0), {}, {}
    try:
        for order in dict.fromkeys(frame.channel_order for frame in frames):
            decoded[order] = open_picture(picture, order, decoding=decoding, frames=frames)
            size = upright_size(picture) if decoding.fast else decoded[order].size
        for frame in dict.fromkeys(frames):
            framed[frame] = frame_picture(decoded[frame.channel_order], frame, decoding=decoding)
    except ImageError as error:
        raise ProblemError("unreadable-picture", error.message, hint=error.hint) from None
    finally:
        decoded.clear()
        if max(size) > _LARGE_PX:
            give_back()
    found = tuple(
        _answer(classifier, frame, chosen_by, framed[frame], wanted) for classifier, frame, chosen_by in asks
    )
    return PictureAnswers(name=picture.name, width_px=size[0], height_px=size[1], answers=found)


def _answer(classifier: Classifier, frame: Frame, chosen_by: str, pixels: Pixels, wanted: Wanted) -> Answer:
    start = time.perf_counter()
    try:
        scores = classifier.model.probabilities(pixels)
    except ModelFileError as error:
        raise failed(classifier, error) from None
    seconds = time.perf_counter() - start
    names = classifier.model.class_names
    return Answer(
        model=classifier.name,
        frame=frame.mode,
        description=frame.describe(),
        chosen_by=chosen_by,
        scores=ranked(scores, names, top_k=wanted.top_k, threshold=wanted.threshold),
        image=data_url(pixels) if wanted.images else None,
        seconds=seconds,
    )


def failed(classifier: Classifier, error: ModelFileError) -> ProblemError:
    """A model that cannot answer, without the path of its file."""
    path = classifier.model.path
    detail = without_places(error.message, str(path.absolute()), classifier.name)
    return ProblemError("model-failed", detail.replace(str(path), classifier.name), hint=error.hint)


def data_url(pixels: Pixels) -> str:
    """A framed picture, uint8 [H, W, C], as a data: address of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(stream, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def chosen(classifiers: Mapping[str, Classifier], names: Sequence[str]) -> list[Classifier]:
    """Those of these names, each once; all without any.

    Raises:
        ProblemError: where there is none of a name.
    """
    return [find(classifiers, name) for name in dict.fromkeys(names)] or list(classifiers.values())


def find(classifiers: Mapping[str, Classifier], name: str) -> Classifier:
    """The one of a name.

    Raises:
        ProblemError: where there is none.
    """
    if name not in classifiers:
        known = ", ".join(classifiers)[:200]
        raise ProblemError("no-such-model", f"There is no model {name[:80]!r}.", hint=f"There are: {known}.")
    return classifiers[name]
