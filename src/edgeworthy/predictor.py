"""predict(): pictures in, ranked classes out, from the ONNX file alone; streaming and in order."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeworthy import machine
from edgeworthy.contract import Normalization
from edgeworthy.errors import ImageError, ModelFileError, OptionError
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import framed, normalise
from edgeworthy.pictures import Picture, Pictures
from edgeworthy.pipeline import side_by_side
from edgeworthy.results import Prediction, Score, Unreadable
from edgeworthy.runtime import FileFacts, Session, SideBySide, facts_of

_DECODED_AHEAD = 2  # pictures that wait for a thread, at most, where they are decoded already


class Predictor:
    """A classifier's file, ready for pictures.

    Args:
        file: the ONNX file.
        frame: how pictures meet the input; the file's own evidence if left out, and where it has
            none, the letterbox that the platform does by default.
        normalization: in place of the file's.
        top_k: number of classes to give for each picture, best first; None gives all.
        threshold: leaves out classes with a smaller probability.
        jobs: pictures at a time, each from the file to its classes on a thread of its own; 0 takes as many
            as there are cores for them.
        threads: for one picture; 0 takes the cores that `jobs` leaves to it.

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
        top_k: int | None = 5,
        threshold: float | None = None,
        jobs: int = 0,
        threads: int = 0,
    ) -> None:
        if top_k is not None and top_k < 1:
            raise OptionError(
                f"The number of classes {top_k} is not above zero.", hint="Give --top-k 1 or more."
            )
        self._jobs, threads = _shared_out(jobs, threads)
        session = Session(Path(file), threads=threads)
        self._sessions = SideBySide(session, jobs=self._jobs, threads=threads)
        self._facts = facts_of(session)
        self._top_k, self._threshold = top_k, threshold
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

    @property
    def settings(self) -> dict[str, Any]:
        """What decides on the results besides the file and the pictures."""
        return {
            "top_k": self._top_k,
            "threshold": self._threshold,
            "frame": self.frame,
            "frame_source": self.frame_source,
            "mean": self._normalization.mean,
            "std": self._normalization.std,
        }

    def predict(self, pictures: Iterable[str | Path | Picture]) -> Iterator[Prediction | Unreadable]:
        """Classify pictures side by side; results come in the order of the pictures.

        A text or path is a file. One that cannot be read is reported as such. No more than a few pictures
        are held at any time.

        Raises:
            ModelFileError: where the file fails on a picture, or names another number of classes.
        """
        free = threading.Semaphore(self._jobs + _DECODED_AHEAD)

        def taken() -> Iterator[Picture]:
            for picture in map(Picture.of, pictures):
                if picture.decoded:
                    free.acquire()
                yield picture

        def classified(picture: Picture) -> Prediction | Unreadable:
            try:
                return self._classified(picture)
            finally:
                if picture.decoded:
                    free.release()

        return side_by_side(classified, taken(), self._jobs)

    def _classified(self, picture: Picture) -> Prediction | Unreadable:
        try:
            pixels = framed(picture, self.frame)
        except ImageError as error:
            return Unreadable(path=picture.name, message=str(error))
        values = normalise(pixels, self._normalization, self._facts.layout)
        scores = self._ranked(self._sessions.scores(values).reshape(-1))
        return Prediction(path=picture.name, scores=scores, time_s=picture.time_s)

    def _ranked(self, scores: npt.NDArray[np.float32]) -> tuple[Score, ...]:
        names = self.class_names or tuple(map(str, range(len(scores))))
        if len(names) != len(scores):
            raise ModelFileError(
                f"{self._sessions.shared.path} names {len(names)} classes and gives {len(scores)} scores.",
                hint="See: edgeworthy check",
            )
        best = np.argsort(-np.nan_to_num(scores, nan=-1), kind="stable")[: self._top_k]
        ranked = (Score(class_id=int(i), name=names[i], probability=float(scores[i])) for i in best)
        if self._threshold is None:
            return tuple(ranked)
        return tuple(one for one in ranked if one.probability >= self._threshold)


def predict(
    file: str | Path,
    pictures: str | Path | Picture | Iterable[str | Path | Picture],
    *,
    frame: Mode | Frame | None = None,
    normalization: Normalization | None = None,
    top_k: int | None = 5,
    threshold: float | None = None,
    jobs: int = 0,
    threads: int = 0,
) -> Iterator[Prediction | Unreadable]:
    """Classify pictures with an ONNX file; arguments as for `Predictor`.

    Yields:
        A `Prediction` or `Unreadable` for each picture, in order.
    """
    items = [pictures] if isinstance(pictures, str | Path | Picture) else pictures
    total = items.total if isinstance(items, Pictures) else len(items) if isinstance(items, Sized) else None
    if not jobs and total is not None:
        jobs = at_a_time(total, threads)
    predictor = Predictor(
        file,
        frame=frame,
        normalization=normalization,
        top_k=top_k,
        threshold=threshold,
        jobs=jobs,
        threads=threads,
    )
    return predictor.predict(items)


def at_a_time(pictures: int, threads: int = 0) -> int:
    """How many of so many pictures go side by side; several threads for one only pay where cores are left."""
    return max(1, min(pictures, machine.cores() // max(1, threads)))


def _shared_out(jobs: int, threads: int) -> tuple[int, int]:
    """(pictures at a time, threads for each); threads that do nothing but this keep to themselves."""
    cores = machine.cores()
    if min(jobs, threads) < 0 or jobs * max(1, threads) > cores:
        raise OptionError(
            f"jobs={jobs} with threads={threads} is more than the {cores} cores that this process may use.",
            hint="More would only wait for each other; 0 takes all.",
        )
    jobs = jobs or max(1, cores // max(1, threads))
    return jobs, threads or max(1, cores // jobs)


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
