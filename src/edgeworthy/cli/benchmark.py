"""`edgeworthy benchmark`: how fast ONNX files are on this machine, and what they cost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from edgeworthy.cli.shared import (
    PROVIDERS,
    TextsCommand,
    examples,
    json_option,
    page_of,
    page_options,
    print_blocks,
    print_json,
    status_console,
    trained_of,
    trained_options,
)
from edgeworthy.results import Benchmark

EXAMPLES = examples(
    "edgeworthy benchmark cats.onnx",
    "edgeworthy benchmark cats.onnx cats-int8.onnx --threads 1 2 -o report.html",
    "edgeworthy benchmark cats.onnx --provider cpu openvino --profile",
    "edgeworthy benchmark cats.onnx --vs timm:resnet18 --checkpoint best.pth",
)


@click.command(cls=TextsCommand, texts=("--threads", "--provider"), epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="FILES...", type=click.Path(path_type=Path))
@click.option(
    "--threads",
    multiple=True,
    default=(1,),
    metavar="N...",
    type=click.IntRange(min=1),
    help="For one picture: a number, or several; 1 if left out.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    default=("cpu",),
    metavar="NAME...",
    type=PROVIDERS,
    help="What computes: cpu, cuda, openvino, or several; the CPU if left out, others need their package.",
)
@click.option(
    "--rounds",
    default=5,
    show_default=True,
    type=click.IntRange(min=3),
    help="Turns of each candidate.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Of timed runs, for each candidate in each round.",
)
@trained_options("--vs", "Time this trained model, too, in eager PyTorch and with torch.compile.")
@click.option("--profile", is_flag=True, help="Show how much of the time each operator takes.")
@page_options
@json_option
def command(files: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Measure how fast ONNX files are on this machine, and what they cost.

    Shows latency at one picture a time (p50, p95, p99), pictures a second with sessions side by side, cold
    start, peak memory, size, parameters and multiply-adds, for each file, provider and number of threads.

    Candidates take turns, each in a process of its own, and are compared with the first. A difference that
    is smaller than the noise is no difference, and the output says so; it also says where something else
    kept the machine busy.

    The exit code is 1 where a file could not be measured.
    """
    from edgeworthy.benchmarking import benchmark

    with page_of(options, extra="benchmark", inputs=files) as write_page:
        with _progress() as on_step:
            found = benchmark(
                files,
                providers=options["providers"],
                threads=options["threads"],
                rounds=options["rounds"],
                seconds=options["seconds"],
                vs=trained_of(options, "--vs"),
                profile=options["profile"],
                on_step=on_step,
            )
        if write_page:
            from edgeworthy.report.benchmark_page import benchmark_page

            write_page(benchmark_page(found))
    _show(found, as_json=as_json)
    if options["output"]:
        status_console().print(f"{options['output']}: written", soft_wrap=True)
    return 1 if any(one.reason for one in found.timings if one.engine == "onnxruntime") else 0


def _show(found: Benchmark, *, as_json: bool) -> None:
    from edgeworthy.report.benchmark import render_benchmark

    if as_json:
        print_json(found)
    else:
        print_blocks(render_benchmark(found))


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None] | None]:
    """What is told of each step; a line where stderr is a terminal."""
    console = status_console()
    if not console.is_terminal:
        yield None
        return
    from rich.text import Text

    from edgeworthy.report.tables import printable

    with console.status("loading") as status:
        yield lambda turn, _, label: status.update(Text(f"round {turn + 1}: {printable(label)}"))
