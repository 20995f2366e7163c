"""Every failure that edgeworthy reports, as one tree.

::

    EdgeworthyError                   exit 2: the call could not be carried out
    ├── MissingExtraError             a library behind an extra is not installed   (ImportError)
    ├── ClassNamesError               the list of class names cannot be used       (ValueError)
    ├── OptionError                   an option's value cannot be used             (ValueError)
    ├── SourceError                   the trained model could not be had
    │   ├── CheckpointError           a checkpoint does not fit the architecture
    │   └── UntrustedPickleError      a checkpoint would run code when loaded
    ├── ModelFileError                a file could not be read as an ONNX model
    ├── ImageError                    an image could not be read
    ├── TargetError                   the output could not be written              (OSError)
    └── FallsShortError               exit 1: the model falls short
        ├── NotAClassifierError       inputs or outputs are not a classifier's
        ├── UnstableModelError        two runs of the original model differ
        ├── TracedBranchError         control flow depends on the pixels
        ├── UnexportableError         an operator stands in the way of the opset
        ├── UnconvertibleError        an operator has no counterpart at the opset
        ├── IrreparableError          a file cannot be made to keep the contract
        ├── SimplifyError             the simplifier failed, or changed predictions
        ├── ParityError               the file predicts something else
        ├── AccuracyError             a smaller file loses too much
        └── NotConformantError        the finished file breaks a rule

A message states the offending value and what was expected; `hint` is the next step to take.
"""

import re


class EdgeworthyError(Exception):
    """Root of the tree.

    Attributes:
        hint: the next step to take, one sentence, or "" when the message already says it.
        exit_code: what the command line returns for it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[object, ...]:
        return rebuilt, (type(self).__name__, self.message, self.hint), self.__dict__


class MissingExtraError(EdgeworthyError, ImportError):
    """A library that lives behind an extra is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed, and this needs it.",
            hint=f'Install it with: pip install "edgeworthy[{extra}]"',
        )


class ClassNamesError(EdgeworthyError, ValueError):
    """The list of class names cannot be used."""


class OptionError(EdgeworthyError, ValueError):
    """An option's value cannot be used."""


class SourceError(EdgeworthyError):
    """The trained model could not be had."""


class CheckpointError(SourceError):
    """A checkpoint does not fit the architecture."""


class UntrustedPickleError(SourceError):
    """A checkpoint would run code when loaded."""


class ModelFileError(EdgeworthyError):
    """A file could not be read as an ONNX model."""


class ImageError(EdgeworthyError):
    """An image could not be read."""


class TargetError(EdgeworthyError, OSError):
    """The output could not be written."""


class FallsShortError(EdgeworthyError):
    """The call was carried out, and the model falls short."""

    exit_code = 1


class NotAClassifierError(FallsShortError):
    """Inputs or outputs are not those of an image classifier."""


class UnstableModelError(FallsShortError):
    """Two runs of the original model on one image differ."""


class TracedBranchError(FallsShortError):
    """The model's control flow depends on the values of the pixels."""


class UnexportableError(FallsShortError):
    """An operator stands in the way of the opset that was asked for."""


class UnconvertibleError(FallsShortError):
    """An operator of a graph has no counterpart at the opset that was asked for."""


class IrreparableError(FallsShortError):
    """A file cannot be made to keep the contract, or not without being told more."""


class SimplifyError(FallsShortError):
    """The simplifier failed on the graph, or changed its predictions."""


class ParityError(FallsShortError):
    """The file predicts something else than the model it came from."""


class AccuracyError(FallsShortError):
    """A file in lower precision loses more than is allowed.

    Attributes:
        outcome: what was tried, a `results.Quantized` without a path.
    """

    def __init__(self, message: str, *, hint: str = "", outcome: object = None) -> None:
        super().__init__(message, hint=hint)
        self.outcome = outcome


class NotConformantError(FallsShortError):
    """The finished file breaks a rule of the contract."""


def rebuilt(name: str, message: str, hint: str) -> EdgeworthyError:
    """An error of this tree that another process has told of, by its class's name."""
    kind = globals()[name]
    error: EdgeworthyError = kind.__new__(kind)  # MissingExtraError makes its message of other words
    EdgeworthyError.__init__(error, message, hint=hint)
    return error


_OF_SCRIPTS = re.compile(r"(builtins\.)?\w*(Error|Exception): ")


def first_line(error: BaseException) -> str:
    """The first line that says something in a library's message, at most 300 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if lines[0].startswith("The following operation failed in the TorchScript interpreter"):
        reasons = filter(_OF_SCRIPTS.match, lines)  # behind the script's own traceback
        return _OF_SCRIPTS.sub("", next(reasons, lines[0]))[:300]
    return lines[0][:300]
