"""`edgeworthy inspect`: show what an ONNX file says of itself."""

from __future__ import annotations

from pathlib import Path

import click

from edgeworthy.cli.shared import examples, json_option, output_console, print_json

EXAMPLES = examples("edgeworthy inspect cats.onnx", "edgeworthy inspect cats.onnx --json | jq .class_names")


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def command(file: Path, as_json: bool) -> None:
    """Show what an ONNX file says of itself, without running it.

    Classes, frame, the values for the platform's upload form, versions, size, and how it was made and proven.
    """
    from edgeworthy.inspector import inspect
    from edgeworthy.report.inspection import render_inspection

    inspection = inspect(file)
    if as_json:
        print_json(inspection)
    else:
        output_console().print(render_inspection(inspection))
