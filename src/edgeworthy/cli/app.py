"""The program: its commands, loaded when they are called, and what becomes of its errors."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from edgeworthy._version import __version__
from edgeworthy.cli.shared import Terminated, examples, status_console
from edgeworthy.errors import EdgeworthyError
from edgeworthy.memory import spare_the_last_collection

COMMANDS = {
    "export": "Turn a trained classifier into one ONNX file, proven to predict the same.",
    "check": "Say what is wrong with a classifier's ONNX file, and why it matters.",
    "repair": "Make a classifier's ONNX file keep the contract, proven to predict the same.",
    "inspect": "Show what an ONNX file says of itself.",
    "rule": "Explain what a rule requires, and why.",
    "predict": "Classify pictures with an ONNX file.",
    "evaluate": "Measure ONNX files on labelled pictures, as the platform will see them.",
    "quantize": "Make an ONNX file smaller and quicker, and prove that it keeps its accuracy.",
    "benchmark": "Measure how fast ONNX files are on this machine, and what they cost.",
    "compare": "Say whether two classifiers predict the same, and where they part.",
    "serve": "Try ONNX files in a browser, or call them over HTTP.",
    "completion": "Print the script that completes commands in a shell.",
}

EXIT_CODES = {
    0: "Fine: it was done, and the model keeps the contract.",
    1: "The model falls short: a rule is broken, a proof failed, two classifiers differ, some pictures "
    "could not be read.",
    2: "The call could not be carried out: a bad option, a file that is no model, no weights.",
    130: "Interrupted from the keyboard (143: by SIGTERM); nothing half-written is left behind, "
    "but what --resume goes on from.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a person's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgeworthy.cli.{cmd_name}").command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the closest name for an unknown command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but a reader that has gone away is no failure, and a model that exits no success."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _output_to_nowhere()
            return 0
        except Terminated:
            raise
        except SystemExit as error:
            raise EdgeworthyError(
                f"Code of the model's own ends the program: SystemExit({error.code!r}).",
                hint="A model that is exported must return its scores.",
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "edgeworthy export timm:resnet18.a1_in1k -o resnet18.onnx",
        "edgeworthy check resnet18.onnx",
        "edgeworthy predict resnet18.onnx photos/",
    ),
)
@click.version_option(__version__, prog_name="edgeworthy")
@click.option("--debug", is_flag=True, help="Show where in the program an error arose.")
def app(debug: bool) -> None:
    """From a trained PyTorch classifier to one ONNX file for the edge, proven to predict the same."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and end the process with the command's exit code."""
    _open_what_is_closed()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell each other
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be no text
    code = _run(words)
    spare_the_last_collection()
    sys.exit(code)


def _open_what_is_closed() -> None:
    """A standard stream that the caller has closed leads nowhere; or the next file would take its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123


def _run(words: list[str]) -> int:
    code, debug = 0, words[:1] == ["--debug"]
    try:
        code = _call(words[1:] if debug else words)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EdgeworthyError as error:
        _tell(error, debug=debug)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        status_console().print("interrupted", style="red")
        code = 130
    except BrokenPipeError:
        _output_to_nowhere()  # the reader has seen enough
    except Exception as error:
        if _hides_an_interrupt(error):
            status_console().print("interrupted", style="red")
            return 130
        full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
        _tell(_no_room(error) if full else _unforeseen(error), debug=debug)
        if full:
            _output_to_nowhere()
        code = 2
    return code


def _hides_an_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C came while native code was imported, which makes an ImportError of it."""
    if isinstance(error, KeyboardInterrupt):
        return True
    return error is not None and _hides_an_interrupt(error.__cause__ or error.__context__)


def _output_to_nowhere() -> None:
    """Or Python would complain again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _call(words: list[str]) -> int:
    result: Any = app(words, prog_name="edgeworthy", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _no_room(error: Exception) -> EdgeworthyError:
    """Of a file that a command is told to write, it has said so by itself."""
    return EdgeworthyError(
        f"What is written finds no room: {getattr(error, 'strerror', error)}.",
        hint="Is the place full that standard output goes to, or the folder of temporary files?",
    )


def _unforeseen(error: Exception) -> EdgeworthyError:
    return EdgeworthyError(
        f"{type(error).__name__}: {error}",
        hint="This was not foreseen; edgeworthy --debug COMMAND … shows where it arose.",
    )


def _tell(error: EdgeworthyError, *, debug: bool) -> None:
    from rich.text import Text

    if debug:
        traceback.print_exc()
    console = status_console()
    console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    if error.hint:
        console.print(Text.assemble(("next: ", "bold"), error.hint), soft_wrap=True)
