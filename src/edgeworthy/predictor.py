"""predict(): pictures in, ranked classes out, from the ONNX file alone; streaming and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeworthy.contract import Normalization
from edgeworthy.errors import ImageError, ModelFileError, OptionError
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import frame_picture, normalise, open_picture
from edgeworthy.results import Prediction, Score, Unreadable
from edgeworthy.runtime import FileFacts, Session, facts_of

_DECODERS = 2
_AHEAD = 8  # decoded pictures that wait, at most


class Predictor:
    """A classifier's file, ready for pictures.

    Args:
        file: the ONNX file.
        frame: how pictures meet the input; the file's own evidence if left out, and where it has
            none, the letterbox that the platform does by default.
        normalization: in place of the file's.
        top_k: number of classes to give for each picture.
        threads: for ONNX Runtime; 0 leaves it the choice.

    Attributes:
        frame, frame_source: what is done to pictures, and who said so.
        class_names: from the file, or the ids where it has no names.

    Raises:
        ModelFileError: where the file is no classifier of pictures.
        OptionError: where it does not say how pixels are normalised, and neither does the caller.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        frame: Mode | Frame | None = None,
        normalization: Normalization | None = None,
        top_k: int = 5,
        threads: int = 0,
    ) -> None:
        if top_k < 1:
            raise OptionError(
                f"The number of classes {top_k} is not above zero.", hint="Give --top-k 1 or more."
            )
        self._session = Session(Path(file), threads=threads)
        self._facts = facts_of(self._session)
        self._top_k = top_k
        chosen = normalization or self._facts.normalization
        if chosen is not None and len(chosen.mean) == 1:
            channels = self._facts.channels
            chosen = Normalization(mean=chosen.mean * channels, std=chosen.std * channels)
        if chosen is None or len(chosen.mean) != self._facts.channels:
            given = f"{len(chosen.mean)} values of mean and std are" if chosen else "nothing is"
            raise OptionError(
                f"{file} takes {self._facts.channels} channels, and {given} known of their normalisation.",
                hint="Give --mean and --std as in its training, one value a channel.",
            )
        self._normalization = chosen
        self.frame, self.frame_source = _frame(self._facts, frame)
        self.class_names = self._facts.class_names

    def predict(self, pictures: Iterable[str | Path]) -> Iterator[Prediction | Unreadable]:
        """Classify pictures one after another, in order; one that cannot be read is reported as such."""
        waiting: deque[tuple[str, Future[npt.NDArray[np.float32]]]] = deque()
        with ThreadPoolExecutor(_DECODERS) as decoders:
            try:
                for path in pictures:
                    waiting.append((str(path), decoders.submit(self._input, path)))
                    if len(waiting) >= _AHEAD:
                        yield self._result(*waiting.popleft())
                while waiting:
                    yield self._result(*waiting.popleft())
            finally:
                decoders.shutdown(cancel_futures=True)

    def _input(self, path: str | Path) -> npt.NDArray[np.float32]:
        picture = open_picture(path, self.frame.channel_order)
        return normalise(frame_picture(picture, self.frame), self._normalization, self._facts.layout)

    def _result(self, path: str, picture: Future[npt.NDArray[np.float32]]) -> Prediction | Unreadable:
        try:
            values = picture.result()
        except ImageError as error:
            return Unreadable(path=path, message=str(error))
        scores = self._session.scores(values).reshape(-1)
        names = self.class_names or tuple(map(str, range(len(scores))))
        if len(names) != len(scores):
            raise ModelFileError(
                f"{self._session.path} names {len(names)} classes and gives {len(scores)} scores.",
                hint="See: edgeworthy check",
            )
        best = np.argsort(-np.nan_to_num(scores, nan=-1), kind="stable")[: self._top_k]
        ranked = (Score(class_id=int(i), name=names[i], probability=float(scores[i])) for i in best)
        return Prediction(path=path, scores=tuple(ranked))


def predict(
    file: str | Path,
    pictures: str | Path | Iterable[str | Path],
    *,
    frame: Mode | Frame | None = None,
    normalization: Normalization | None = None,
    top_k: int = 5,
    threads: int = 0,
) -> Iterator[Prediction | Unreadable]:
    """Classify pictures with an ONNX file; arguments as for `Predictor`.

    Yields:
        A `Prediction` or `Unreadable` for each path, in order.
    """
    paths = [pictures] if isinstance(pictures, str | Path) else pictures
    return Predictor(file, frame=frame, normalization=normalization, top_k=top_k, threads=threads).predict(
        paths
    )


def _frame(facts: FileFacts, asked: Mode | Frame | None) -> tuple[Frame, str]:
    order: Literal["RGB", "L"] = "L" if facts.channels == 1 else "RGB"
    height, width, recorded = facts.height_px, facts.width_px, facts.recorded.frame
    if isinstance(asked, Frame):
        return asked, "chosen"
    fits = recorded is not None and (recorded.height, recorded.width) == (height, width)
    if recorded is not None and fits and asked in {None, recorded.mode}:
        return recorded, "the file's evidence"
    details: dict[str, Any] = {"channel_order": order}
    if recorded is not None:
        details["interpolation"] = recorded.interpolation
    makers = {"letterbox": Frame.letterbox, "stretch": Frame.stretch, "crop": Frame.crop}
    if asked is None:
        return Frame.letterbox(height, width, **details), "the platform's default"
    if asked not in makers:
        raise OptionError(f"Unknown frame {asked!r}.", hint=f"Use one of: {', '.join(makers)}.")
    return makers[asked](height, width, **details), "chosen"
