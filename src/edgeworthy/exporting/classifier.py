"""One picture in, probabilities out: the module that is traced, and the original's own answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeworthy.contract import SUM_TOLERANCE, Layout, Normalization
from edgeworthy.errors import NotAClassifierError, OptionError, UnstableModelError, first_line
from edgeworthy.evidence import Activation
from edgeworthy.exporting.outputs import Accessor, find_scores
from edgeworthy.exporting.settings import copied
from edgeworthy.probes import moved
from edgeworthy.silence import quiet

Floats = npt.NDArray[np.floating[Any]]

_OF_DEVICES = re.compile(r"(same|expected) device|CUDA|cuda|\bGPU\b|MPS")
_ITS_DEVICE = (
    "It is asked on the CPU: let it make its tensors where the picture is (device=x.device), and do without "
    "what only a GPU can compute."
)
_ITS_SIZE = "Is --input-size C H W the size it was trained for?"

STABLE_WITHIN = 1e-6  # two eager runs on one picture may differ by this much in a logit's relative size


class Classifier(nn.Module):
    """A trained module with everything around it that the file needs.

    Args:
        module: the trained one.
        accessor: finds the scores in its output.
        activation: what turns them into probabilities.
        layout: of the file's input.
        normalization: what the graph does to pixels 0..255, or None where the platform does it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        accessor: Accessor,
        activation: Activation,
        *,
        layout: Layout = "nchw",
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.accessor = accessor
        self.activation = activation
        self.layout = layout
        self.normalizes = normalization is not None
        if normalization is not None:
            self.register_buffer("mean", _plane(normalization.mean), persistent=False)
            self.register_buffer("std", _plane(normalization.std), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities [1, classes] for one picture in the file's own layout."""
        if self.layout == "nhwc":
            image = image.permute(0, 3, 1, 2)
        if self.normalizes:
            image = (image - self.mean) / self.std
        scores = self.accessor(self.module(image))
        if scores.dtype == torch.float64:  # the contract's scores are float32
            scores = scores.float()
        return activate(scores, self.activation)


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """Probabilities [1, max(2, columns)]: a single column p becomes 1 - p and p."""
    if logits.shape[1] == 1:
        if activation == "none":
            return torch.cat([1 - logits, logits], dim=1)
        return torch.sigmoid(torch.cat([-logits, logits], dim=1))
    if activation == "softmax":
        return torch.softmax(logits, dim=1)
    return torch.sigmoid(logits) if activation == "sigmoid" else logits


class Original:
    """The trained module in eager mode, asked one picture at a time.

    Args:
        module: in eval mode, on the CPU.
        classes: number of class names, if known.
    """

    def __init__(self, module: nn.Module, classes: int | None) -> None:
        self.module = module
        self._classes = classes
        self.accessor = Accessor()
        self._found = False
        self._double: nn.Module | None = None

    def ask(self, picture: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
        """Raw scores [1, columns] for a float32 picture [1, C, H, W]; `name` stands in messages.

        Raises:
            NotAClassifierError: where the model does not take such a picture, returns no row of
                scores, or returns NaN or infinity.
        """
        row = self._row(picture)
        if not np.isfinite(row).all():
            raise NotAClassifierError(
                f"The model itself returns NaN or infinity on the probe {name!r}.",
                hint="Check its weights, and that mean and std are the ones of its training.",
            )
        return row

    def repeat(self, picture: npt.NDArray[np.float32], row: npt.NDArray[np.float32]) -> None:
        """Ask the same again.

        Raises:
            UnstableModelError: where the answer is another one.
        """
        change = float(np.abs(self._row(picture) - row).max())
        if change > STABLE_WITHIN * max(1.0, float(np.abs(row).max())):
            raise UnstableModelError(
                f"Two runs of the original model on one picture differ by {change:.2g}.",
                hint="Is there dropout or noise that is active in eval mode?",
            )

    def probabilities(self, logits: npt.NDArray[np.float32], activation: Activation) -> Floats:
        """Probabilities [pictures, classes] as eager torch computes them."""
        rows = [activate(torch.from_numpy(row[None]), activation).numpy() for row in logits]
        return np.concatenate(rows)

    def otherwise(self, picture: npt.NDArray[np.float32], activation: Activation) -> Iterator[Floats]:
        """Probabilities [classes] of one picture, two or three times, which rounding alone moves apart.

        In single precision for the picture with each value moved by one unit in the last place, up or down:
        what is exact for data that differ by rounding is as good as computation in floating point can be
        (Higham, Accuracy and Stability of Numerical Algorithms, 1.5, backward error). Then in double
        precision, which takes the most time and memory, where the model does not refuse it.
        """
        for other in moved(picture):
            yield self.probabilities(self._row(other), activation)[0]
        double = self._in_float64(picture, activation)
        if double is not None:
            yield double[0]

    def rest(self) -> None:
        """Let go of the copy in double precision, which is made anew when it is asked for again."""
        self._double = None

    def _in_float64(self, picture: npt.NDArray[np.float32], activation: Activation) -> Floats | None:
        """Probabilities [1, classes] computed in double precision; None where the model refuses it."""
        try:
            if self._double is None:
                self._double = in_double_precision(self.module)
            with torch.no_grad(), quiet():
                logits = self.accessor(self._double(torch.from_numpy(picture).double()))
                values: Floats = activate(logits, activation).numpy()
        except Exception:  # a model of anybody's refuses in its own way
            return None
        return values if values.dtype == np.float64 and np.isfinite(values).all() else None

    def _row(self, picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            with torch.no_grad(), quiet():
                output = self.module(torch.from_numpy(picture.copy()))
        except TypeError as error:
            raise NotAClassifierError(
                f"The model cannot be called with one picture: {first_line(error)}.",
                hint="Expected is one image input [1, C, H, W]; wrap a model that takes more.",
            ) from error
        except Exception as error:
            reason = first_line(error)
            raise NotAClassifierError(
                f"The model fails on a picture of shape {list(picture.shape)}: {reason}",
                hint=_ITS_DEVICE if _OF_DEVICES.search(reason) else _ITS_SIZE,
            ) from error
        if not self._found:
            self.accessor = find_scores(output, self._classes)
            self._found = True
        row: npt.NDArray[np.float32] = self.accessor(output).float().numpy().copy()
        return row


def in_double_precision(module: nn.Module) -> nn.Module:
    """A copy whose floating-point tensors are float64."""

    def doubled(tensor: Tensor) -> Tensor:
        return tensor.to(torch.float64, copy=True) if tensor.is_floating_point() else tensor.clone()

    return copied(module, doubled).double()  # and what modules convert in ways of their own


def may_be_probabilities(logits: npt.NDArray[np.float32]) -> bool:
    """Whether raw scores all lie in 0..1."""
    return bool((logits >= -1e-6).all() and (logits <= 1 + 1e-6).all())


def choose_activation(logits: npt.NDArray[np.float32], asked: Activation | None) -> Activation:
    """What turns the raw scores of all probes into probabilities.

    Raises:
        OptionError: where the scores leave it open, or contradict what was asked.
    """
    inside = may_be_probabilities(logits)
    single = logits.shape[1] == 1
    if asked == "none" and not inside:
        worst = float(logits.max() if logits.max() > 1 else logits.min())
        raise OptionError(
            f"--activation none says that the outputs are probabilities, but one is {worst:.4g}.",
            hint="Leave --activation out, or say softmax or sigmoid.",
        )
    if asked == "softmax" and single:
        raise OptionError("The softmax of a single score is always 1.", hint="Use --activation sigmoid.")
    sums = logits.astype(np.float64).sum(axis=1)
    are_probabilities = inside and not single and float(np.abs(sums - 1).max()) <= SUM_TOLERANCE
    if asked in {"softmax", "sigmoid"} and are_probabilities:
        raise OptionError(
            f"The model's outputs are probabilities already: a {asked} over them would flatten them.",
            hint="Leave --activation out.",
        )
    if asked is not None:
        return asked
    if not inside:
        return "sigmoid" if single else "softmax"
    if are_probabilities:
        return "none"
    what = (
        "The model's single score lies"
        if single
        else f"The scores (sums {sums.min():.3g}..{sums.max():.3g}) lie"
    )
    raise OptionError(
        f"{what} in 0..1 on every probe, so whether probabilities come out cannot be told.",
        hint="Say what the graph still has to apply: --activation softmax, sigmoid or none.",
    )


def _plane(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
