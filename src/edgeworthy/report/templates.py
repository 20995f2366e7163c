"""Pages of HTML: what all of them share. Each needs no network; everything is inside."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgeworthy._version import __version__
from edgeworthy.errors import MissingExtraError
from edgeworthy.report.tables import printable

if TYPE_CHECKING:
    from jinja2 import Template


def jinja(extra: str) -> ModuleType:
    """Jinja2, which an extra of edgeworthy brings.

    Raises:
        MissingExtraError: without it.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("Jinja2", extra) from error
    return jinja2


def template(name: str, *, extra: str) -> Template:
    """A page of `report/pages`, whose values are escaped.

    Args:
        name: of its file.
        extra: of edgeworthy, which brings Jinja2.

    Raises:
        MissingExtraError: without Jinja2.
    """
    jinja2: Any = jinja(extra)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgeworthy.report", "pages"),
        autoescape=True,  # class names and paths are anybody's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        "base": lambda path: printable(Path(path).name),
        "printable": printable,
    }
    environment.globals |= {"version": __version__}
    page: Template = environment.get_template(name)
    return page
