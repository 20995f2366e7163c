"""What torch reads from an archive, and what of it could run code when it is loaded."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import SourceError

_OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|torchvision)\.(?!from_file|save)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
    r"|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_)"
)
_EXPRESSION = re.compile(
    r"(?!.*\*\*)(Symbol|Integer|Add|Mul|Mod|FloorDiv|PythonMod|CleanDiv|Max|Min|positive|integer|nonnegative"
    r"|evaluate|True|False|'[su]\d+'|\d|[-+*/(),= ]){1,500}"
)
_TENSORS = ("weight_", "tensor_")  # beginnings of the names of records that hold numbers alone
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def what_runs(path: Path) -> str:
    """What in an archive of torch.export could run code when it is loaded; "" where nothing could.

    `torch.export.load` unpickles what does not load as weights alone, evaluates expressions as Python,
    compiles guards and looks operators up by name. Records are read as it reads them.

    Raises:
        SourceError: where weights lie on a device that is not there.
    """
    import torch

    for name, content in records(str(path), ".pt"):
        try:
            if content:
                torch.load(io.BytesIO(content), weights_only=True)
        except Exception:
            if _lies_elsewhere(content):  # torch would go on to load it as any pickle
                raise SourceError("its tensors lie on a device that is not there, such as CUDA") from None
            return f"a pickle of more than weights ({name!r})"
    texts = records(str(path), ".json")
    return next((reason for _, content in texts for reason in _suspects(json.loads(content))), "")


def _lies_elsewhere(content: bytes) -> bool:
    """Whether weights would load if they were moved to the CPU."""
    import torch

    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:
        return False
    return True


def records(path: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Those of an archive that end so, as torch itself reads them: it takes no notice of case.

    Raises:
        SourceError: where two have one name, so that it is open which of them torch would take.
    """
    import torch

    reader: Any = torch._C.PyTorchFileReader(path)
    names = reader.get_all_records()
    if any(name.startswith("data/aotinductor") for name in names):
        raise SourceError("it holds code that is compiled for one machine")
    if len({name.casefold() for name in names}) != len(names):
        raise SourceError("two of its records have one name")
    for name in names:
        if name.casefold().endswith(suffix):
            yield name, reader.get_record(name)


def _suspects(content: Any) -> Iterator[str]:
    """What is out of the ordinary in a program's JSON."""
    if isinstance(content, list):
        for entry in content:
            yield from _suspects(entry)
    if not isinstance(content, Mapping):
        return
    yield from _suspect_entries(content)
    for entry in content.values():
        yield from _suspects(entry)


def _suspect_entries(content: Mapping[str, Any]) -> Iterator[str]:
    record = content.get("path_name")
    if record is not None and (content.get("use_pickle") or not str(record).startswith(_TENSORS)):
        yield f"a pickled object ({str(record)[:80]!r})"
    if record is not None and _elements(content.get("tensor_meta")) > MAX_FILE_BYTES:
        yield f"a tensor that no file holds ({str(record)[:80]!r})"
    if "target" in content and not _OPERATORS.fullmatch(str(content["target"])):
        yield f"the operator {str(content['target'])[:80]!r}"
    if "expr_str" in content and not _EXPRESSION.fullmatch(str(content["expr_str"])):
        yield f"the expression {str(content['expr_str'])[:80]!r}"
    if content.get("guards_code"):
        yield "guards, which are Python code"
    if content.get("treespec_namedtuple_fields"):
        yield "named tuples"
    for key in ("in_spec", "out_spec"):
        if isinstance(content.get(key), str) and not _plain_tree(json.loads(content[key])):
            yield f"a container of its own ({key})"


def _elements(meta: Any) -> float:
    sizes = meta.get("sizes", ()) if isinstance(meta, Mapping) else ()
    counts = [size.get("as_int", 0) if isinstance(size, Mapping) else 0 for size in sizes]
    return math.prod(count for count in counts if isinstance(count, int))


def _plain_tree(content: Any) -> bool:
    """Whether a description of nested containers names none but the plain ones, with plain keys."""
    if isinstance(content, list):
        return all(_plain_tree(entry) for entry in content)
    if not isinstance(content, Mapping):
        return isinstance(content, int)  # the version
    context = content.get("context")
    keys = json.loads(context) if isinstance(context, str) else context
    return (
        content.get("type") in _CONTAINERS
        and (keys is None or (isinstance(keys, list) and all(isinstance(key, str) for key in keys)))
        and _plain_tree(content.get("children_spec", []))
    )
