"""Rules 3xx: the output and the class names in its name."""

from __future__ import annotations

from collections.abc import Sequence

from edgeworthy.contract import ALARM_PREFIX, BOXES_PREFIX, OUTPUT_PREFIX, read_output_name, scores_output
from edgeworthy.errors import ClassNamesError
from edgeworthy.labels import ID_SEPARATOR, MAX_NAME_BYTES, has_control, repeated
from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject

_SHOWN = 4


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name[:60]) for name in names[:_SHOWN]) + more


def _names(subject: Subject) -> list[str]:
    return [name for _, name in subject.entries]


def _score_count(subject: Subject) -> int:
    sizes = subject.scores.sizes
    if len(sizes) != 2 or sizes[1] is None:
        raise NotApplicableError("the number of scores is not fixed (EW312)")
    return sizes[1]


@rule("EW301", "no-scores", "error", 12, mending="asks")
def no_scores(subject: Subject) -> Findings:
    """An output's name carries the classes.

    The platform reads what it can recognise from that name; without it, it recognises nothing.

    Example: `output`, or `logits`; `scores-0:cat;1:dog` instead.
    """
    names = [value.name for value in subject.outputs]
    if scores_output(names) is None:
        yield (
            f"The output is named {names[0][:60]!r}, expected is {OUTPUT_PREFIX!r} and the classes.",
            "output",
        )


@rule("EW302", "malformed-names", "error", 12, 16, mending="asks")
def malformed_names(subject: Subject) -> Findings:
    """Each entry in the output's name is an id, a colon and a name.

    No escape is documented, so a semicolon inside a class name ends its entry.

    Example: `scores-0:cat;dog;1:horse`, where a class is called `cat;dog`; `scores-0:cat,dog;1:horse`
    instead.
    """
    try:
        read_output_name(subject.scores.name)
    except ClassNamesError as error:
        yield f"{error.message} Is there a semicolon in a class name?", "output"


@rule("EW303", "ids-out-of-order", "error", 15, mending="safe")
def ids_out_of_order(subject: Subject) -> Findings:
    """The ids run from 0 upwards in order.

    The id is the position of the class among the scores.

    Example: `scores-1:cat;2:dog`; `scores-0:cat;1:dog` instead.
    """
    ids = [ident for ident, _ in subject.entries]
    for position, ident in enumerate(ids):
        if ident != position:
            yield f"The entry at position {position} has the id {ident}.", "output"
            return


@rule("EW304", "names-and-scores-differ", "error", 15, mending="asks")
def names_and_scores_differ(subject: Subject) -> Findings:
    """There are as many names as scores.

    With fewer, the rest has no name; with more, names point at nothing.

    Example: `scores-0:cat;1:dog` on a model with 1000 scores, as one of the vendor's own tutorials makes it.
    """
    names, scores = len(subject.entries), _score_count(subject)
    if names != scores:
        yield f"The output names {names} classes and gives {scores} scores.", "output"


@rule("EW305", "separator-in-name", "error", 16, mending="safe")
def separator_in_name(subject: Subject) -> Findings:
    """No class name contains a colon.

    The colon parts id and name, and no escape is documented.

    Example: `scores-0:cat: tabby`; `scores-0:cat- tabby` instead.
    """
    bad = [name for name in _names(subject) if ID_SEPARATOR in name]
    if bad:
        yield f"{len(bad)} class names contain {ID_SEPARATOR!r}: {_listed(bad)}.", "output"


@rule("EW306", "repeated-names", "error", 17, mending="safe")
def repeated_names(subject: Subject) -> Findings:
    """No class name stands twice.

    Results travel as a map keyed by class name: of two equal names one is lost.

    Example: `crane`, which ImageNet has twice, a bird and a machine; `crane` and `crane (517)` instead.
    """
    twice = [name for name in repeated(_names(subject)) if name.strip()]
    if twice:
        yield f"{len(twice)} class names stand more than once: {_listed(twice)}.", "output"


@rule("EW307", "empty-name", "error", 17, mending="safe")
def empty_name(subject: Subject) -> Findings:
    """No class name is empty.

    The platform shows and filters classes by name.

    Example: `scores-0:cat;1:`; `scores-0:cat;1:class 1` instead.
    """
    empty = [str(ident) for ident, name in subject.entries if not name.strip()]
    if empty:
        yield f"{len(empty)} class names are empty: id {_listed(empty)}.", "output"


@rule("EW308", "apostrophe-in-name", "warning", 16, mending="no")
def apostrophe_in_name(subject: Subject) -> Findings:
    """No class name contains an apostrophe.

    The MemryX toolchain turns apostrophes into quotation marks and then parses JSON.

    Example: `carpenter's kit`, class 477 of ImageNet; `carpenters kit` instead.
    """
    bad = [name for name in _names(subject) if "'" in name]
    if bad:
        yield f"{len(bad)} class names contain an apostrophe: {_listed(bad)}.", "output"


@rule("EW309", "names-differ-in-case", "warning", 17, mending="no")
def names_differ_in_case(subject: Subject) -> Findings:
    """No two class names differ only in case.

    People and file systems take them for one.

    Example: `Cardigan` and `cardigan`; `Cardigan (dog)` and `cardigan` instead.
    """
    unique = sorted(set(_names(subject)))
    folded = repeated(name.casefold() for name in unique)
    if folded:
        yield f"{len(folded)} class names differ from another only in case: {_listed(folded)}.", "output"


@rule("EW310", "name-too-long", "error", 17, mending="safe")
def name_too_long(subject: Subject) -> Findings:
    """No class name is longer than 1024 bytes.

    The C example of the platform's SDK cuts longer keys.

    Example: A class whose name is its whole description, 1500 letters long; a short name instead.
    """
    long = [name for name in _names(subject) if len(name.encode()) > MAX_NAME_BYTES]
    if long:
        yield f"{len(long)} class names are longer than {MAX_NAME_BYTES} bytes: {_listed(long)}.", "output"


@rule("EW311", "output-dtype", "error", 13, 19, mending="safe")
def scores_dtype(subject: Subject) -> Findings:
    """The scores are float32.

    The platform has no code for float16.

    Example: Scores of float16 from a model that was halved whole; float32 at the border instead.
    """
    if subject.scores.dtype != "float32":
        yield f"The scores' type is {subject.scores.dtype}, expected is float32.", "output"


@rule("EW312", "output-shape", "error", 13, mending="safe")
def scores_shape(subject: Subject) -> Findings:
    """The scores have the fixed shape [1, number of classes].

    The TorchScript exporter leaves a symbolic batch on some outputs: the platform takes shapes literally.

    Example: The shape [batch, 1000]; [1, 1000] instead.
    """
    sizes = subject.scores.sizes
    if len(sizes) != 2 or sizes[0] != 1 or not sizes[1]:
        shape = subject.scores.shape
        yield (
            f"The scores' shape is {'unknown' if shape is None else list(shape)}, expected [1, C].",
            "output",
        )


@rule("EW313", "alarm-or-boxes-type", "warning", 20, mending="no")
def alarm_or_boxes_type(subject: Subject) -> Findings:
    """Alarms and boxes have the type and shape that the platform parses.

    Alarms are BOOL [1, C], boxes float32 [N, 6]; others are not read as what they are.

    Example: `alarm-0:cat` of float32; BOOL [1, 1] instead.
    """
    expected = {ALARM_PREFIX: ("bool", 1, 0), BOXES_PREFIX: ("float32", 6, 1)}
    for value in subject.outputs:
        for prefix, (dtype, size, axis) in expected.items():
            if value.name.startswith(prefix):
                sizes = value.sizes
                fits = value.dtype == dtype and len(sizes) == 2 and sizes[axis] == size
                if not fits:
                    shape = list(value.shape or ())
                    yield f"{value.name[:40]!r} is {value.dtype} {shape}, expected {dtype}.", "output"


@rule("EW314", "unread-output", "warning", 20, mending="safe")
def unread_output(subject: Subject) -> Findings:
    """Every further output is one that the platform reads.

    Besides scores it reads alarms and boxes; what else the graph computes is computed for nothing.

    Example: The `features` of the last layer beside the scores; the scores alone instead.
    """
    known = (OUTPUT_PREFIX, ALARM_PREFIX, BOXES_PREFIX)
    spared = 0 if scores_output([value.name for value in subject.outputs]) is None else None
    others = [
        value.name
        for index, value in enumerate(subject.outputs)
        if index != spared and not value.name.startswith(known)
    ]
    if others:
        yield f"{len(others)} further outputs that the platform does not read: {_listed(others)}.", "output"


@rule("EW315", "control-character-in-name", "error", 18, mending="safe")
def control_character_in_name(subject: Subject) -> Findings:
    """No class name contains a control character.

    Names are C strings on the platform: a NUL ends all of them.

    Example: `cat` with a line end behind it, as a list read line by line leaves it; `cat` instead.
    """
    bad = [name for name in _names(subject) if has_control(name)]
    if bad:
        yield f"{len(bad)} class names contain control characters: {_listed(bad)}.", "output"


RULES = (
    no_scores,
    malformed_names,
    ids_out_of_order,
    names_and_scores_differ,
    separator_in_name,
    repeated_names,
    empty_name,
    apostrophe_in_name,
    names_differ_in_case,
    name_too_long,
    scores_dtype,
    scores_shape,
    alarm_or_boxes_type,
    unread_output,
    control_character_in_name,
)
