"""A classifier's file, ready for framed pixels: its session, names and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgeworthy import machine
from edgeworthy.contract import Layout, Normalization
from edgeworthy.errors import ModelFileError, OptionError
from edgeworthy.evidence import Activation
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import Pixels, normalise
from edgeworthy.runtime import FileFacts, Port, Provider, Session, SideBySide, facts_of

LOADED = 2  # times the file's bytes are held while it is loaded: as they are read, and as they are used


class FileModel:
    """What classifies pixels, from the ONNX file alone; its methods may be called by several threads.

    Args:
        file: the ONNX file.
        normalization: in place of the file's.
        jobs: pictures at a time, each on a thread of its own.
        threads: for one picture.
        provider: what computes.
        optimize: whether ONNX Runtime may rewrite the graph before it runs it.

    Attributes:
        path: of the file.
        class_names: from the file, or the ids where it has no names; empty where neither is known yet.

    Raises:
        ModelFileError: where the file is no classifier of pictures.
        OptionError: where it does not say how pixels are normalised, and neither does the caller.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        normalization: Normalization | None = None,
        jobs: int = 1,
        threads: int = 1,
        provider: Provider = "cpu",
        optimize: bool = True,
    ) -> None:
        session = Session(Path(file), threads=threads, provider=provider, optimize=optimize)
        self.path, self.provider = session.path, provider
        self._sessions = SideBySide(session, jobs=jobs, threads=threads)
        self._facts = facts_of(session)
        self.normalization = _normalization(self.path, self._facts, normalization)
        self.class_names: tuple[str, ...] = self._facts.class_names or ()

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height px, width px)."""
        return self._facts.channels, self._facts.height_px, self._facts.width_px

    @property
    def scores_name(self) -> str:
        """Of the output that carries the classes."""
        return self.scores_port.name

    @property
    def picture_port(self) -> Port:
        """The input that takes the picture."""
        return self._sessions.shared.picture_port

    @property
    def scores_port(self) -> Port:
        """The output that carries the classes."""
        return self._sessions.shared.scores_port

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._sessions.size_bytes

    @property
    def worth_repeating(self) -> bool:
        """Whether it may be loaded once for each of the `jobs`."""
        return self._sessions.apart

    @property
    def is_stale(self) -> bool:
        """Whether the file is gone, or no longer what was loaded."""
        return self._sessions.is_stale

    @property
    def layout(self) -> Layout:
        """Order of the input's axes."""
        return self._facts.layout

    @property
    def activation(self) -> Activation | None:
        """What makes probabilities of the trained model's outputs, as the file's evidence says."""
        recorded = self._facts.recorded.activation
        return next((known for known in get_args(Activation) if known == recorded), None)

    def frame(self, asked: Mode | Frame | None = None) -> tuple[Frame, str]:
        """How pictures meet the input, and who says so: the caller, the file's evidence, or the platform."""
        return _frame(self._facts, asked)

    def count_classes(self) -> tuple[str, ...]:
        """The class names; of a file without names, it takes a picture to count them."""
        if not self.class_names:
            channels, height, width = self.input_size
            self.probabilities(np.zeros((height, width, channels), np.uint8))
        return self.class_names

    def values(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """What the input takes, float32 [1, C, H, W] or [1, H, W, C], for framed pixels, uint8 [H, W, C]."""
        return normalise(pixels, self.normalization, self._facts.layout)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of all classes, float32 [classes], for framed pixels, uint8 [H, W, C].

        Raises:
            ModelFileError: where the file fails, or names another number of classes.
        """
        return self.scores(self.values(pixels))

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of all classes, float32 [classes], for what the input takes, float32 [1, C, H, W] or [1, H, W, C].

        Raises:
            ModelFileError: where the file fails, or names another number of classes.
        """
        scores = self._sessions.scores(values).reshape(-1)
        if not self.class_names:
            self.class_names = tuple(map(str, range(len(scores))))
        if len(self.class_names) != len(scores):
            raise ModelFileError(
                f"{self.path} names {len(self.class_names)} classes and gives {len(scores)} scores.",
                hint="See: edgeworthy check",
            )
        return scores


def shared_out(jobs: int, threads: int) -> tuple[int, int]:
    """(pictures at a time, threads for each) of all cores, where 0 leaves the choice.

    Threads that do nothing but one picture keep to themselves: side by side, they give more pictures a second
    than together, and lose less when something else runs.

    Raises:
        OptionError: where both together are more than the cores.
    """
    cores = machine.cores()
    if min(jobs, threads) < 0 or jobs * max(1, threads) > cores:
        raise OptionError(
            f"jobs={jobs} with threads={threads} is more than the {cores} cores that this process may use.",
            hint="More would only wait for each other; 0 takes all.",
        )
    jobs = jobs or max(1, cores // max(1, threads))
    return jobs, threads or max(1, cores // jobs)


def _normalization(path: Path, facts: FileFacts, asked: Normalization | None) -> Normalization:
    chosen = asked or facts.normalization
    if chosen is not None and len(chosen.mean) == 1:
        chosen = Normalization(mean=chosen.mean * facts.channels, std=chosen.std * facts.channels)
    if chosen is None or len(chosen.mean) != facts.channels:
        given = f"{len(chosen.mean)} values of mean and std are" if chosen else "nothing is"
        raise OptionError(
            f"{path} takes {facts.channels} channels, and {given} known of their normalisation.",
            hint="Give --mean and --std as in its training, one value a channel.",
        )
    return chosen


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
