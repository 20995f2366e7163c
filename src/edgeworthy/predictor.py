"""predict(): pictures in, ranked classes out, from the ONNX file alone; streaming and in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgeworthy import machine
from edgeworthy.contract import Normalization
from edgeworthy.crew import Pool, pooled
from edgeworthy.decoding import STRICT, Decoding
from edgeworthy.errors import ImageError, OptionError
from edgeworthy.filemodel import LOADED, FileModel, shared_out
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import framed
from edgeworthy.pictures import Picture, Pictures
from edgeworthy.results import Prediction, Score, Unreadable
from edgeworthy.runtime import Provider

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
        jobs: pictures at a time, each from the file to its classes on a thread, or in a process, of its own;
            0 takes as many as there are cores for them.
        threads: for one picture; 0 takes the cores that `jobs` leaves to it.
        decoding: what to do about files that end too early, and with JPEG files far larger than the input.
        provider: what computes: the CPU, or what another package of ONNX Runtime brings.
        pool: who works: threads of this process; processes, which hold the model once each and know nothing
            of what this one has told Pillow or fsspec; or, with `auto`, after some hundred pictures, those
            of the two that turn out to be quicker.

    Attributes:
        frame, frame_source: what is done to pictures, and who said so.

    Raises:
        ModelFileError: where the file is no classifier of pictures.
        OptionError: where it does not say how pixels are normalised, and neither does the caller, or one of
            the settings is out of range.
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
        decoding: Decoding = STRICT,
        provider: Provider = "cpu",
        pool: Pool = "threads",
    ) -> None:
        if top_k is not None and top_k < 1:
            raise OptionError(
                f"The number of classes {top_k} is not above zero.", hint="Give --top-k 1 or more."
            )
        if threshold is not None and not 0 <= threshold <= 1:  # nor NaN
            raise OptionError(f"The threshold {threshold} is no probability in 0..1.")
        if pool not in get_args(Pool):
            raise OptionError(f"Unknown pool {pool!r}.", hint=f"Use one of: {', '.join(get_args(Pool))}.")
        self._jobs, threads = shared_out(jobs, threads)
        self._model = FileModel(
            file, normalization=normalization, jobs=self._jobs, threads=threads, provider=provider
        )
        self._top_k, self._threshold, self._decoding = top_k, threshold, decoding
        self.frame, self.frame_source = self._model.frame(frame)
        self._pool: Pool = pool if pool != "auto" or self._model.worth_repeating else "threads"
        self._alone = {
            "file": self._model.path.absolute(),
            "frame": self.frame,
            "normalization": self._model.normalization,
            "top_k": top_k,
            "threshold": threshold,
            "jobs": 1,
            "threads": threads,
            "decoding": decoding,
            "provider": provider,
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """From the file, or the ids where it has no names; empty where neither is known yet."""
        return self._model.class_names

    @property
    def settings(self) -> dict[str, Any]:
        """What decides on the results besides the file and the pictures."""
        return {
            "top_k": self._top_k,
            "threshold": self._threshold,
            "frame": self.frame,
            "frame_source": self.frame_source,
            "mean": self._model.normalization.mean,
            "std": self._model.normalization.std,
            "truncated": self._decoding.truncated,
            "fast_decode": self._decoding.fast,
            "provider": self._model.provider,
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
                return self.classify(picture)
            finally:
                if picture.decoded:
                    free.release()

        return pooled(
            classified,
            taken(),
            self._jobs,
            pool=self._pool,
            make=classifier,
            arguments=(self._alone,),
            each_bytes=LOADED * self._model.size_bytes,
            stays=lambda picture: picture.decoded,
            same=lambda: not self._model.is_stale,
        )

    def classify(self, picture: Picture) -> Prediction | Unreadable:
        """One picture, on the caller's thread.

        Raises:
            ModelFileError: where the file fails on it, or names another number of classes.
        """
        try:
            pixels = framed(picture, self.frame, decoding=self._decoding)
        except ImageError as error:
            return Unreadable(path=picture.name, message=error.message)
        scores = self._model.probabilities(pixels)
        best = ranked(scores, self._model.class_names, top_k=self._top_k, threshold=self._threshold)
        return Prediction(path=picture.name, scores=best, time_s=picture.time_s)


def classifier(settings: dict[str, Any]) -> Callable[[Picture], Prediction | Unreadable]:
    """In a process of a pool: what classifies a picture."""
    return Predictor(**settings).classify


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
    decoding: Decoding = STRICT,
    provider: Provider = "cpu",
    pool: Pool = "threads",
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
        decoding=decoding,
        provider=provider,
        pool=pool,
    )
    return predictor.predict(items)


def ranked(
    scores: npt.NDArray[np.float32],
    names: Sequence[str],
    *,
    top_k: int | None = None,
    threshold: float | None = None,
) -> tuple[Score, ...]:
    """The best `top_k` classes, best first, that reach the threshold; of scores, float32 [classes]."""
    keys = np.where(np.isnan(scores), 1, -scores)
    some = np.arange(keys.size)
    if top_k is not None and top_k < keys.size:  # sorting thousands of classes takes its time
        some = np.flatnonzero(keys <= np.partition(keys, top_k - 1)[top_k - 1])
    best = some[np.argsort(keys[some], kind="stable")][:top_k]
    found = (Score(class_id=int(i), name=names[i], probability=float(scores[i])) for i in best)
    return tuple(one for one in found if threshold is None or one.probability >= threshold)


def at_a_time(pictures: int, threads: int = 0) -> int:
    """How many of so many pictures go side by side; several threads for one only pay where cores are left."""
    return max(1, min(pictures, machine.cores() // max(1, threads)))
