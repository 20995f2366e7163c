"""An evaluation as text: a table of the runs, the frame to choose, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeworthy.report.tables import counted, printable
from edgeworthy.results import Against, ClassFigures, Evaluation, FrameReport, Interval, Run

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_WORST = 5
_SHOWN = 5

HEADINGS = ("top-1", "top-5", "precision", "recall", "F1", "log loss", "calibration error")
_IN_A_TERMINAL = ("top-1", "top-5", "F1", "log loss", "calibration error")


def render_evaluation(evaluation: Evaluation) -> Iterator[RenderableType]:
    """Block by block."""
    from rich.text import Text

    yield Text(headline(evaluation), "bold")
    yield _table(evaluation)
    for report in evaluation.frames:
        yield _frames(report)
    for one in evaluation.against:
        yield _against(one)
    for run in evaluation.runs[:1]:
        yield from _weaknesses(run)
    for line in remarks(evaluation):
        yield Text(f"note: {line}", "yellow")


def headline(evaluation: Evaluation) -> str:
    """How many pictures, and how their labels were understood."""
    pictures = f"{counted(evaluation.pictures, 'picture')} of {printable(evaluation.data) or 'the list'}"
    return f"{pictures}, labelled by {evaluation.labels}; in brackets, 95 % intervals"


def remarks(evaluation: Evaluation) -> Iterator[str]:
    """What was left out, and what the figures therefore do not show."""
    for file in dict.fromkeys(run.file for run in evaluation.runs if not run.probabilities):
        yield (
            f"the scores of {printable(file)} are no probabilities in 0..1: its log loss and calibration say "
            f"nothing; see: edgeworthy check {printable(file)}"
        )
    if evaluation.unknown:
        total = sum(evaluation.unknown.values())
        names = _listed([f"{label} ({count})" for label, count in evaluation.unknown.items()])
        verb = "counts" if total == 1 else "count"
        yield f"{counted(total, 'picture')} {verb} nowhere, for no class stands for the label: {names}."
    if evaluation.absent:
        number = len(evaluation.absent)
        verb = "has" if number == 1 else "have"
        yield f"{counted(number, 'class')} of the model {verb} no picture: {_listed(evaluation.absent)}."
    if evaluation.unreadable:
        first = evaluation.unreadable[0].message
        number = len(evaluation.unreadable)
        yield f"{counted(number, 'picture')} could not be read, the first: {printable(first)}"


def figures_of(run: Run) -> tuple[str, ...]:
    """The cells of a run, in the order of HEADINGS."""
    figures = run.figures
    shares = (figures.top1, figures.top5, figures.precision, figures.recall, figures.f1)
    return (*map(percent, shares), _number(figures.log_loss), percent(figures.calibration_error))


def short_name(evaluation: Evaluation, file: str) -> str:
    """The file's name, or its path where another one has the same name."""
    name = Path(file).name
    others = {run.file for run in evaluation.runs if Path(run.file).name == name}
    return file if len(others) > 1 else name


def worst_classes(run: Run) -> list[ClassFigures]:
    """Classes of which a picture is missed; first those that are surely bad, not those of one picture."""
    return sorted((one for one in run.classes if one.recall.value < 1), key=lambda one: one.recall.high)


def _table(evaluation: Evaluation) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("frame", no_wrap=True)
    for heading in _IN_A_TERMINAL:
        table.add_column(heading.replace(" error", ""), no_wrap=True, justify="right")
    for run in evaluation.runs:
        figures = dict(zip(HEADINGS, figures_of(run), strict=True))
        cells = (figures[heading].replace(" [", "\n[") for heading in _IN_A_TERMINAL)
        table.add_row(printable(short_name(evaluation, run.file)), run.frame.mode, *cells)
    return table


def _frames(report: FrameReport) -> Text:
    from rich.text import Text

    text = Text.assemble((f"{printable(Path(report.file).name)}: ", "bold"), printable(report.advice))
    verb = "is" if report.flipped == 1 else "are"
    flipped = counted(report.flipped, "picture")
    text.append(f"\n  {flipped} {verb} recognised in one frame and not in another")
    text.append(":" if report.flipped else ".")
    for flip in report.flips[:_SHOWN]:
        answers = ", ".join(f"{mode}: {name}" for mode, name in flip.predicted.items())
        text.append("\n    " + printable(f"{Path(flip.path).name} ({flip.truth}) {answers}"), "dim")
    _say_how_many_more(text, report.flipped)
    return text


def _say_how_many_more(text: Text, total: int) -> None:
    if total > _SHOWN:
        text.append(f"\n    and {total - _SHOWN} more: -o report.html, or --json", "dim")


def _against(one: Against) -> Text:
    from rich.text import Text

    differing = len(one.disagreements)
    text = Text()
    text.append(
        f"{printable(Path(one.file).name)} against {printable(one.source)}, {one.frame.mode}: "
        f"{differing} of {one.pictures} pictures get another class; "
        f"probabilities differ by {one.max_abs_diff:.2g} at most",
        "red" if differing else "green",
    )
    for case in one.disagreements[:_SHOWN]:
        text.append(
            "\n    "
            + printable(
                f"{Path(case.path).name} ({case.truth}): file {case.file_says} "
                f"{case.file_probability:.3f}, model {case.model_says} {case.model_probability:.3f}"
            ),
            "dim",
        )
    _say_how_many_more(text, differing)
    return text


def _weaknesses(run: Run) -> Iterator[Text]:
    from rich.text import Text

    where = f"{printable(Path(run.file).name)}, {run.frame.mode}"
    worst = worst_classes(run)
    if worst:
        text = Text(f"Worst classes ({where})", "bold")
        for one in worst[:_WORST]:
            text.append(f"\n  {percent(one.recall):>20} of {one.pictures:>4} {printable(one.name)}", "")
        yield text
    if run.mistakes:
        text = Text(f"Surest mistakes ({where})", "bold")
        for answer in run.mistakes[:_SHOWN]:
            text.append(
                "\n  "
                + printable(
                    f"{answer.confidence:6.4f} {answer.predicted}, and it is {answer.truth} "
                    f"({answer.likelihood:.4f}): {answer.path}"
                ),
                "",
            )
        yield text


def percent(value: Interval | None) -> str:
    """A share with its interval."""
    if value is None:
        return "-"
    return f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _number(value: Interval) -> str:
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _listed(names: tuple[str, ...] | list[str], limit: int = 6) -> str:
    shown = ", ".join(map(printable, names[:limit]))
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
