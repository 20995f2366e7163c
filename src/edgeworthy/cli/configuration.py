"""The table `[tool.edgeworthy]` of the nearest pyproject.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeworthy.errors import OptionError

_KEYS = ("select", "ignore", "strict", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What the table sets for `check`; `ignore` maps codes to reasons."""

    select: list[str] = field(default_factory=list)
    ignore: dict[str, str] = field(default_factory=dict)
    strict: bool = False
    target: list[str] = field(default_factory=list)


def check_settings(folder: Path) -> CheckSettings:
    """Settings for calls in a folder: from its own pyproject.toml or the nearest above.

    Raises:
        OptionError: where the file is no TOML, or the table has other keys or values.
    """
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            return _read(file)
    return CheckSettings()


def _read(file: Path) -> CheckSettings:
    import tomllib

    try:
        table = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("edgeworthy", {})
    except (ValueError, AttributeError, OSError) as error:
        raise OptionError(f"{file} cannot be read: {error}.") from error
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise OptionError(
            f"{file}: [tool.edgeworthy] has no key {unknown[0]!r}.", hint=f"Known: {', '.join(_KEYS)}."
        )
    ignore = table.get("ignore", {})
    if isinstance(ignore, list):  # as on the command line: CODE, or CODE=reason
        pairs = [str(entry).partition("=") for entry in ignore]
        ignore = {code.strip(): reason.strip() for code, _, reason in pairs}
    select, strict, target = table.get("select", []), table.get("strict", False), table.get("target", [])
    if not (
        _texts(select)
        and _texts(target)
        and isinstance(strict, bool)
        and isinstance(ignore, dict)
        and _texts([*ignore, *ignore.values()])
    ):
        raise OptionError(
            f"{file}: [tool.edgeworthy] has a value of another kind.",
            hint='Expected: select = ["EW3"], ignore = { EW308 = "reason" } or a list, strict = true, '
            'target = ["hailo"].',
        )
    return CheckSettings(select=select, ignore=ignore, strict=strict, target=target)


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
