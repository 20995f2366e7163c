"""What the commands share: options, consoles, JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeworthy.errors import OptionError, TargetError
from edgeworthy.plain import json_line, plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from edgeworthy.contract import Normalization
    from edgeworthy.decoding import Decoding
    from edgeworthy.sources.base import SourceRequest

    _Numbers = click.ParamType[tuple[float, ...]]
else:
    _Numbers = click.ParamType  # generic in click's stubs, and in its code since 8.2

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


class Numbers(_Numbers):
    """Finite numbers separated by commas."""

    name = "a,b,c"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Floats from the text."""
        if isinstance(value, tuple):
            return value
        try:
            parts = value.split(",") if "," in value else value.split()
            numbers = tuple(map(float, parts))
        except ValueError:
            numbers = ()
        if not numbers or not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r} is not a list of numbers such as 0.485,0.456,0.406.", param, ctx)
        return numbers


class TextsCommand(click.Command):
    """A command with options that take all texts up to the next option: `--prompts "a cat" "a dog"`.

    Args:
        texts: the option's name, or the names of several; they are declared as `multiple`.
        *args: as for `click.Command`.
        **kwargs: as for `click.Command`.
    """

    def __init__(self, *args: Any, texts: str | tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._texts = (texts,) if isinstance(texts, str) else texts

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the option again before each of its texts."""
        spread: list[str] = []
        taking, first = "", False
        for arg in args:
            if taking and not arg.startswith("-"):
                spread += [arg] if first else [taking, arg]
                first = False
                continue
            taking, first = (arg, True) if arg in self._texts else ("", False)
            spread.append(arg)
        return super().parse_args(ctx, spread)


def normalization_options(function: F) -> F:
    """`--mean`, `--std` and `--scale`."""
    for option in (
        click.option("--scale", type=click.Choice(["1", "255"]), help="Their scale, where it is in doubt."),
        click.option("--std", type=Numbers(), help="Standard deviation a channel, on the same scale."),
        click.option("--mean", type=Numbers(), help="Mean a channel, for pixels 0..1 or 0..255."),
    ):
        function = option(function)
    return function


def normalization_of(options: dict[str, Any]) -> Normalization | None:
    """What those three say; None without them.

    Raises:
        OptionError: where they are not whole.
    """
    from edgeworthy.contract import Normalization

    mean, std, scale = options["mean"], options["std"], options["scale"]
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise OptionError("--mean and --std go together.", hint="Give both, one value a channel.")
    return Normalization.guess_scale(mean, std, int(scale) if scale else None)


PROVIDERS = click.Choice(["cpu", "cuda", "openvino"])

provider_option = click.option(
    "--provider",
    default="cpu",
    show_default=True,
    type=PROVIDERS,
    help="What computes; another than the CPU needs its own package of ONNX Runtime.",
)


def weights_options(function: F) -> F:
    """`--checkpoint`, `--arch` and `--trust-pickle`: what goes with a trained model."""
    for option in (
        click.option(
            "--trust-pickle", is_flag=True, help="Let a file run code when it is loaded. Only for your own."
        ),
        click.option("--arch", help="For a file of weights: the source whose architecture they belong to."),
        click.option(
            "--checkpoint",
            type=click.Path(path_type=Path),
            help="The trained model's weights: .pth, .pt or .safetensors.",
        ),
    ):
        function = option(function)
    return function


def names_weights(options: dict[str, Any]) -> bool:
    """Whether one of those three is given."""
    return bool(options["checkpoint"] or options["arch"] or options["trust_pickle"])


def source_of(spec: str, options: dict[str, Any]) -> SourceRequest:
    """A trained model, with what those three say of it."""
    from edgeworthy.sources.base import SourceRequest

    return SourceRequest(
        spec=spec,
        checkpoint=options["checkpoint"],
        arch=options["arch"],
        trust_pickle=options["trust_pickle"],
    )


def trained_options(name: str, text: str) -> Callable[[F], F]:
    """`--against SOURCE`, or another name with its help, and what goes with it."""
    return lambda function: click.option(name, metavar="SOURCE", help=text)(weights_options(function))


def trained_of(options: dict[str, Any], name: str) -> SourceRequest | None:
    """What those say; None without a source.

    Raises:
        OptionError: where there is something for a source, and none.
    """
    spec = options[name.lstrip("-")]
    if spec is not None:
        return source_of(spec, options)
    if names_weights(options):
        raise OptionError(f"--checkpoint, --arch and --trust-pickle go with {name}.", hint="Name it.")
    return None


def model_files(files: Iterable[Path]) -> list[Path]:
    """The files, and in place of a folder the .onnx files in it and its subfolders.

    Raises:
        OptionError: where a folder holds none.
    """
    found: list[Path] = []
    for file in files:
        inside = sorted(path for path in file.rglob("*.onnx") if path.is_file()) if file.is_dir() else [file]
        if not inside:
            raise OptionError(
                f"The folder {file} holds no .onnx file.", hint="Give files, or another folder."
            )
        found += inside
    return found


def page_options(function: F) -> F:
    """`-o FILE.html` and `--force`."""
    for option in (
        click.option("--force", is_flag=True, help="Overwrite what -o finds."),
        click.option(
            "-o",
            "--output",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Write a report to FILE.html.",
        ),
    ):
        function = option(function)
    return function


@contextlib.contextmanager
def page_of(
    options: dict[str, Any], *, extra: str, inputs: Iterable[str | Path]
) -> Iterator[Callable[[str], None] | None]:
    """What writes the page's text, once it is there, to a file that was tried at once; None without `-o`.

    `inputs` are what the command reads, which is not overwritten.

    Raises:
        MissingExtraError: without what makes pages, which is in this extra.
        OptionError: where the name is no page's.
        TargetError: where the file cannot be written.
    """
    output: Path | None = options["output"]
    if output is None:
        yield None
        return
    if output.suffix.lower() not in {".html", ".htm"}:
        raise OptionError(f"{output} is no page's name.", hint="Name it report.html; for machines: --json.")
    from edgeworthy.model import draft
    from edgeworthy.report.templates import jinja

    refuse_inputs([output], inputs)
    jinja(extra)  # before work is done
    with unwinding_on_sigterm(), draft(output, force=options["force"]) as page:

        def write(text: str) -> None:
            page.write(text.encode())
            page.commit()

        yield write


def refuse_inputs(targets: Iterable[Path | None], inputs: Iterable[str | Path]) -> None:
    """Stop before `--force` overwrites what the command itself reads.

    Raises:
        TargetError: where one of the targets is one of the inputs, or the list that `@FILE` names.
    """
    read = {os.path.realpath(str(name).removeprefix("@")) for name in inputs}
    for target in filter(None, targets):
        if os.path.realpath(target) in read:  # Path.resolve raises on loops
            raise TargetError(f"{target} is read by this command.", hint="Choose another place.")


def engine_options(function: F) -> F:
    """`--engine`, `--address` and `--workers`."""
    for option in (
        click.option(
            "--workers", default=0, type=click.IntRange(min=0), help="Ray's processes; 0 takes all cores."
        ),
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="Of a running Ray cluster, or auto; one is started if left out.",
        ),
        click.option(
            "--engine",
            default="local",
            show_default=True,
            type=click.Choice(["local", "ray"]),
            help="Work on this machine, or on a Ray cluster: docs/scale.md.",
        ),
    ):
        function = option(function)
    return function


def pool_option(function: F) -> F:
    """`--pool`."""
    return click.option(
        "--pool",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "threads", "processes"]),
        help="Who works on this machine; auto lets both try on a long run.",
    )(function)


def refuse_engine_options(options: dict[str, Any]) -> None:
    """Stop where an option of Ray's stands alone, or one of this machine's with it.

    Raises:
        OptionError: then.
    """
    if options["engine"] == "local" and (options["address"] or options["workers"]):
        raise OptionError("--address and --workers are for a Ray cluster.", hint="Add --engine ray.")
    if options["engine"] == "ray" and options["pool"] != "auto":
        raise OptionError(
            "--pool is for this machine.", hint="On a cluster, a worker is a process: leave it out."
        )


@contextlib.contextmanager
def picture_progress() -> Iterator[tuple[Callable[[int | None], None] | None, Callable[[], None] | None]]:
    """What is called with the number of pictures, and after each; a bar where stderr is a terminal."""
    if not status_console().is_terminal:
        yield None, None
        return
    from edgeworthy.cli.progress import pictures_bar

    with pictures_bar() as bar:
        task = bar.add_task("", total=None)
        yield (lambda total: bar.update(task, total=total)), (lambda: bar.advance(task))


def decoding_options(function: F) -> F:
    """`--truncated` and `--fast-decode`."""
    for option in (
        click.option(
            "--fast-decode", is_flag=True, help="Decode large JPEGs smaller; moves pixels a little."
        ),
        click.option(
            "--truncated",
            default="skip",
            show_default=True,
            type=click.Choice(["skip", "load"]),
            help="Files that end too early: report them, or take what is there.",
        ),
    ):
        function = option(function)
    return function


def decoding_of(options: dict[str, Any]) -> Decoding:
    """What those two say."""
    from edgeworthy.decoding import Decoding

    return Decoding(truncated=options["truncated"], fast=options["fast_decode"])


def examples(*lines: str) -> str:
    """An epilog with one example a line, which click shall not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@contextlib.contextmanager
def unwinding_on_sigterm() -> Iterator[None]:
    """End on SIGTERM and SIGHUP as on Ctrl-C, so that nothing half-written stays.

    Only while there is something to tidy up: Python's handlers wait for native code to return.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Terminated(SystemExit):
    """By a signal, and not by code of a model."""


def _leave(number: int, frame: object) -> None:
    raise Terminated(128 + number)


def output_console() -> Console:
    """For results; colours only on a terminal, and no wrapping of what a machine may read."""
    return _console(sys.stdout)


def status_console() -> Console:
    """For progress and errors, on stderr."""
    return _console(sys.stderr)


def print_blocks(blocks: Iterable[RenderableType]) -> None:
    """Results on stdout, block by block."""
    from rich.text import Text

    console = output_console()
    for block in blocks:
        console.print(block, soft_wrap=isinstance(block, Text))


def print_json(value: Any) -> None:
    """One result as JSON on stdout, indented."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One result as one line of JSON on stdout."""
    click.echo(json_line(value))


def _console(stream: Any) -> Console:
    from rich.console import Console

    class PlainConsole(Console):
        """Leaves a reader that went away to the program; rich would exit with 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    terminal = stream.isatty()
    return PlainConsole(file=stream, highlight=False, markup=False, width=None if terminal else 100)
