"""`edgeworthy serve`: try ONNX files in a browser, or call them over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeworthy.cli.shared import (
    examples,
    model_files,
    normalization_of,
    normalization_options,
    provider_option,
    status_console,
)
from edgeworthy.errors import MissingExtraError, OptionError
from edgeworthy.frames import MODES
from edgeworthy.report.tables import counted

if TYPE_CHECKING:
    from edgeworthy.web.settings import Settings

EXAMPLES = examples(
    "edgeworthy serve cats.onnx",
    "edgeworthy serve cats.onnx cats-int8.onnx --open",
    "edgeworthy serve --allow-upload",
    "EDGEWORTHY_API_KEY=$(openssl rand -hex 16) edgeworthy serve cats.onnx --host 0.0.0.0",
    "curl --data-binary @photo.jpg 'http://127.0.0.1:8000/v1/predict?top_k=3'",
)

_MIB = 2**20
_ARENAS = 2
_SWITCH_S = 1e-4  # in place of 5 ms, so that sessions wait less for the interpreter while HTTP is spoken


@click.command(epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option(
    "--api-key",
    envvar="EDGEWORTHY_API_KEY",
    metavar="KEY",
    help="That callers must show; better as EDGEWORTHY_API_KEY, which nobody sees in the list of processes.",
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name that the server may be called by."
)
@click.option(
    "--allow-upload", is_flag=True, help="Let model files be sent, to be checked, mended and fetched."
)
@click.option("--open", "opened", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--frame", type=click.Choice(MODES), help="How pictures meet the input, unless a call says otherwise."
)
@normalization_options
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Pictures at a time; 0 takes all cores.")
@click.option(
    "--threads", default=0, type=click.IntRange(min=0), help="For one picture; 0 takes what --jobs leaves."
)
@provider_option
@click.option("--fast-decode", is_flag=True, help="Decode large JPEGs smaller; moves pixels a little.")
@click.option(
    "--queue",
    default=64,
    show_default=True,
    type=click.IntRange(min=0),
    help="Requests that may wait; the next is told to come back (429).",
)
@click.option(
    "--max-body", default=32, show_default=True, type=click.IntRange(1, 1024), help="MiB of a request."
)
@click.option(
    "--max-upload", default=256, show_default=True, type=click.IntRange(1, 2048), help="MiB of a model file."
)
@click.option(
    "--max-pixels",
    default=64,
    show_default=True,
    type=click.IntRange(1, 178),
    help="Millions of them in a picture.",
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for a body to arrive, and for its answer.",
)
@click.option(
    "--grace",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds, after SIGTERM or Ctrl-C, for what was taken to be answered.",
)
def command(files: tuple[Path, ...], opened: bool, **options: Any) -> None:
    """Try ONNX files in a browser, or call them over HTTP.

    FILEs are ONNX files, or folders whose .onnx files are meant, subfolders included. The page takes
    pictures by drop, paste or camera, and shows what each model says of them in each frame, the models'
    cards, and what the rules say. The same is there for programs: POST a picture to /v1/predict, read
    /openapi.json, or use a client of the Open Inference Protocol (KServe v2). docs/serve.md has more.

    Only this machine can call it, unless --host says otherwise; then give --api-key. SIGTERM and Ctrl-C end
    it when what was taken is answered.
    """
    from edgeworthy.filemodel import shared_out
    from edgeworthy.memory import share_arenas

    settings = _settings(options)
    if not files and not settings.allow_upload:
        raise OptionError("There is nothing to serve.", hint="Give an ONNX file, or --allow-upload.")
    try:
        from edgeworthy.web.classifiers import load
        from edgeworthy.web.server import address_of, listen, server_of
        from edgeworthy.web.service import Service
    except ImportError as error:
        raise MissingExtraError((error.name or "A library").partition(".")[0], "serve") from error
    console = status_console()
    share_arenas(_ARENAS)
    sys.setswitchinterval(_SWITCH_S)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    jobs, threads = shared_out(options["jobs"], options["threads"])
    with listen(settings.host, settings.port) as listener:
        with console.status("Loading") if console.is_terminal else nullcontext():
            classifiers = load(
                model_files(files),
                frame=options["frame"],
                normalization=normalization_of(options),
                jobs=jobs,
                threads=threads,
                provider=options["provider"],
            )
        service = Service(classifiers, settings, jobs=jobs, fast_decode=options["fast_decode"])
        for classifier in classifiers.values():
            told = f"{classifier.frame.describe()} ({classifier.chosen_by})"
            classes = counted(len(classifier.model.class_names), "class")
            console.print(f"{classifier.name}: {classes}, {told}", soft_wrap=True)
        _warn(settings)
        server, address = server_of(service, listener), address_of(settings, listener)
        console.print(f"Serving on {address}; Ctrl-C ends it", soft_wrap=True)
        if opened:
            click.launch(address)
        try:
            server.run(sockets=[listener])
        finally:
            service.close()
    figures = service.telemetry
    which = "all" if figures.left_alone == 0 else f"all but {figures.left_alone} of"
    console.print(f"answered {which} {figures.taken} requests", soft_wrap=True)
    if service.is_stuck:  # in a model, which nobody waits for any more
        sys.stderr.flush()
        os._exit(0)


def _settings(options: dict[str, Any]) -> Settings:
    from edgeworthy.web.settings import Settings

    return Settings(
        host=options["host"],
        port=options["port"],
        api_key=options["api_key"] or None,
        hosts=tuple(options["hosts"]),
        allow_upload=options["allow_upload"],
        body_bytes=options["max_body"] * _MIB,
        upload_bytes=options["max_upload"] * _MIB,
        pixels=options["max_pixels"] * 1_000_000,
        queue=options["queue"],
        timeout_s=options["timeout"],
        grace_s=options["grace"],
    )


def _warn(settings: Settings) -> None:
    """Of what somebody may not have meant."""
    if settings.is_local or settings.api_key:
        return
    status_console().print(
        f"warning: everybody who reaches {settings.host} can use this server; give --api-key, or "
        "EDGEWORTHY_API_KEY.",
        style="yellow",
        soft_wrap=True,
    )
