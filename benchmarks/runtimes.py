"""Does the demo's file predict the same in every runtime that may load it?

Old and new ONNX Runtimes and OpenVINO, each in a throw-away environment with nothing else in it, get the
same inputs: real photographs and noise, framed and normalised once by edgeworthy. Their probabilities are
compared with those of the ONNX Runtime beside edgeworthy, and the names and shapes that they see with
those in the file. Then onnxsim, as in the platform's reference toolchain, has to leave names, doc_string
and opset as they are.

    python benchmarks/runtimes.py [FILE.onnx] [--pictures DIR] [--json FILE] [--keep DIR]

It needs a package index, 1 GB of disk while it runs, and Python 3.11: ONNX Runtime 1.15.1 has no wheels
for later ones. Exit 0 where everything passes, 1 where anything fails, 2 where it cannot begin.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

DEMO_FILE = Path("demo-output/efficientnet_lite0.onnx")
PHOTOS = ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png", "coins.png")
LIMIT = 1e-5
CHECK_N = 3  # comparisons of the platform's reference toolchain


class StepError(Exception):
    """A runtime could not be installed, or not be used."""


@dataclass(frozen=True)
class Runtime:
    """One environment to make: the module that loads the file, and what pip installs."""

    module: str
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A file with its inputs, the probabilities expected of them, and how far they may be missed."""

    file: Path
    inputs: Array
    reference: Array
    limit: float


@dataclass
class Row:
    """What came of one runtime; `problems` is empty where it passes."""

    name: str
    numpy: str = "-"
    max_abs_diff: float | None = None
    top1: str = "-"
    names: str = "-"
    problems: list[str] = field(default_factory=list)


def runtimes() -> list[Runtime]:
    """The oldest ONNX Runtime for Python 3.11, an old one, the one beside edgeworthy, and OpenVINO."""
    import onnxruntime as ort

    return [
        Runtime("onnxruntime", ("onnxruntime==1.15.1", "numpy<2")),
        Runtime("onnxruntime", ("onnxruntime==1.18.1", "numpy<2")),
        Runtime("onnxruntime", (f"onnxruntime=={ort.__version__}",)),
        Runtime("openvino", ("openvino",)),
    ]


# The child: it runs in a throw-away environment and imports nothing but numpy and the runtime.


def child(module: str, file: str, folder: str) -> None:
    """Run one of the libraries on a file and leave what it says in a folder."""
    if module == "onnxsim":
        report = simplify(file)
    else:
        with np.load(Path(folder, "inputs.npz")) as saved:
            inputs = saved["inputs"]
        scores, report = {"onnxruntime": ask_onnxruntime, "openvino": ask_openvino}[module](file, inputs)
        np.savez(Path(folder, "scores.npz"), scores=scores)
    Path(folder, "report.json").write_text(json.dumps(report | {"numpy": np.__version__}))


def ask_onnxruntime(file: str, inputs: Array) -> tuple[Array, dict[str, Any]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    sides = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
    ports = {side: [[[port.name], fixed(port.shape)] for port in found] for side, found in sides.items()}
    name = sides["inputs"][0].name
    scores = [session.run(None, {name: values})[0].reshape(-1) for values in inputs]
    return np.stack(scores), {"version": ort.__version__, "ports": ports}


def ask_openvino(file: str, inputs: Array) -> tuple[Array, dict[str, Any]]:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", settings)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision != "f32":
        sys.exit(f"It computes in {precision}, not in f32.")
    sides = {"inputs": compiled.inputs, "outputs": compiled.outputs}
    ports = {
        side: [[sorted(port.get_names()), fixed(map(length, port.get_partial_shape()))] for port in found]
        for side, found in sides.items()
    }
    scores = [np.array(compiled(values)[0]).reshape(-1) for values in inputs]
    return np.stack(scores), {"version": openvino.__version__.split("-")[0], "ports": ports}


def length(dimension: Any) -> int | None:
    """A dimension of OpenVINO's as a number."""
    return dimension.get_length() if dimension.is_static else None


def fixed(shape: Any) -> list[int | None]:
    """A shape with None for whatever is no number."""
    return [dim if isinstance(dim, int) else None for dim in shape]


def simplify(file: str) -> dict[str, Any]:
    """What the platform's reference toolchain does with a file, and what that changes."""
    import onnx
    import onnxsim

    before = marks(onnx.load(file))
    simplified, agrees = onnxsim.simplify(onnx.load(file), check_n=CHECK_N)
    after = marks(simplified)
    changed = [mark for mark, value in before.items() if after[mark] != value]
    return {"version": onnxsim.__version__.removeprefix("v"), "agrees": bool(agrees), "changed": changed}


def marks(model: Any) -> dict[str, Any]:
    """What simplifying has to leave as it is."""
    return {
        "input names": [value.name for value in model.graph.input],
        "output names": [value.name for value in model.graph.output],
        "doc_string": model.graph.doc_string,
        "opset": [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}],
    }


# The parent: it makes inputs and environments, and compares.


def pictures(folder: Path | None) -> list[Path]:
    """The photographs to show: those in a folder, or scikit-image's."""
    if folder is not None:
        from edgeworthy.pictures import list_pictures

        return [Path(picture.name) for picture in list_pictures([folder])]
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise StepError("scikit-image is not installed: install it, or give --pictures.")
    return [Path(found.origin).parent / "data" / name for name in PHOTOS]


def make_case(file: Path, photos: Sequence[Path], limit: float) -> Case:
    """Photographs as `edgeworthy predict` shows them to the file, and two pictures of noise."""
    from edgeworthy.images import frame_picture, normalise, open_picture
    from edgeworthy.predictor import Predictor
    from edgeworthy.runtime import Session, facts_of

    frame, session = Predictor(file).frame, Session(file)
    facts = facts_of(session)
    if facts.normalization is None:
        raise StepError(f"{file} does not say how its pixels are normalised.")
    pixels = [frame_picture(open_picture(path, frame.channel_order), frame) for path in photos]
    random = np.random.default_rng(1)
    for block in (1, 16):
        shape = (-(-facts.height_px // block), -(-facts.width_px // block), facts.channels)
        noise = random.integers(0, 256, shape, dtype=np.uint8).repeat(block, axis=0).repeat(block, axis=1)
        pixels.append(noise[: facts.height_px, : facts.width_px])
    inputs = np.stack([normalise(each, facts.normalization, facts.layout) for each in pixels])
    reference = np.stack([session.scores(values).reshape(-1) for values in inputs])
    return Case(file, inputs, reference, limit)


def ports_of(file: Path) -> dict[str, Any]:
    """Names and shapes as they stand in the file, without any runtime."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    return {
        side: [
            [[value.name], [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]]
            for value in values
        ]
        for side, values in (("inputs", graph.input), ("outputs", graph.output))
    }


def step(what: str, command: Sequence[str | Path]) -> None:
    """Run a command; where it fails, say which step that was and its last words."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")]
        words = (errors or lines or [f"status {done.returncode}"])[-1]
        raise StepError(f"{what}: {words[:200]}")


def install(runtime: Runtime, folder: Path) -> Path:
    """Make an environment that holds one runtime; returns its interpreter."""
    step("no environment could be made", [sys.executable, "-m", "venv", folder])
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    step("could not be installed", [*pip, *runtime.requirements])
    return python


def measure(runtime: Runtime, case: Case, folder: Path) -> tuple[Array, dict[str, Any]]:
    """A runtime's probabilities and its report, from an environment of its own."""
    folder.mkdir()
    np.savez(folder / "inputs.npz", inputs=case.inputs)
    python = install(runtime, folder / "environment")
    step("does not run the file", [python, "-I", __file__, "--child", runtime.module, case.file, folder])
    with np.load(folder / "scores.npz") as saved:
        return saved["scores"], json.loads((folder / "report.json").read_text())


def compare(row: Row, scores: Array, case: Case) -> None:
    """Enter the differences from the reference."""
    reference, limit = case.reference, case.limit
    if scores.shape != reference.shape:
        row.problems.append(f"gives {list(scores.shape)} probabilities, expected {list(reference.shape)}")
        return
    differences = np.abs(scores.astype(np.float64) - reference)
    row.max_abs_diff = float(np.where(np.isfinite(differences), differences, 1.0).max())
    if row.max_abs_diff > limit:
        row.problems.append(f"a probability differs by {row.max_abs_diff:.2g}, allowed is {limit:g}")
    agree = int((scores.argmax(axis=1) == reference.argmax(axis=1)).sum())
    row.top1 = f"{agree}/{len(reference)}"
    if agree < len(reference):
        row.problems.append("the best class differs")


def examine(runtime: Runtime, case: Case, folder: Path) -> Row:
    """Everything about one runtime."""
    row = Row(" ".join(runtime.requirements))
    try:
        scores, report = measure(runtime, case, folder)
    except StepError as error:
        row.problems.append(str(error))
        return row
    row.name, row.numpy = f"{runtime.module} {report['version']}", report["numpy"]
    changed = [side for side, ports in ports_of(case.file).items() if report["ports"][side] != ports]
    row.names = "as in the file" if not changed else "different"
    row.problems += [f"sees other names or shapes of its {side}" for side in changed]
    compare(row, scores, case)
    return row


def toolchain(file: Path, folder: Path) -> Row:
    """The reference toolchain's simplifier, in this environment."""
    row = Row(f"onnxsim check_n={CHECK_N}")
    folder.mkdir()
    try:
        step("does not simplify the file", [sys.executable, __file__, "--child", "onnxsim", file, folder])
    except StepError as error:
        row.problems.append(str(error))
        return row
    report = json.loads((folder / "report.json").read_text())
    row.name, row.numpy = f"onnxsim {report['version']}, check_n={CHECK_N}", report["numpy"]
    row.names = "different" if report["changed"] else "unchanged"
    if report["changed"]:
        row.problems.append(f"simplifying changes: {', '.join(report['changed'])}")
    if not report["agrees"]:
        row.problems.append("the simplified graph computes something else")
    return row


def show(rows: Sequence[Row]) -> None:
    """The table."""
    wide = max(len(row.name) for row in rows) + 3
    print(f"{'runtime':<{wide}}{'numpy':<10}{'largest difference':<21}{'top-1':<8}{'names':<17}verdict")
    for row in rows:
        difference = "-" if row.max_abs_diff is None else f"{row.max_abs_diff:.2g}"
        verdict = f"FAILED: {'; '.join(row.problems)}" if row.problems else "passed"
        print(f"{row.name:<{wide}}{row.numpy:<10}{difference:<21}{row.top1:<8}{row.names:<17}{verdict}")


def compare_all(file: Path, photos: Sequence[Path], folder: Path, limit: float) -> dict[str, Any]:
    """All rows for one file, printed; the figures come back."""
    import onnxruntime as ort

    case = make_case(file, photos, limit)
    rows = []
    for number, runtime in enumerate(runtimes()):
        print(f"pip install {' '.join(runtime.requirements)} ...", file=sys.stderr, flush=True)
        place = folder / f"{number}-{runtime.module}"
        rows.append(examine(runtime, case, place))
    rows.append(toolchain(file, folder / "toolchain"))
    show(rows)
    spread = float(np.ptp(case.reference, axis=0).max())
    print(
        f"reference: onnxruntime {ort.__version__} on Python {platform.python_version()}; {len(case.inputs)} "
        f"inputs, between which a probability moves by up to {spread:.2f}; limit {limit:g}"
    )
    return {
        "file": file.name,
        "python": platform.python_version(),
        "reference": ort.__version__,
        "inputs": [path.name for path in photos] + ["noise", "noise in blocks"],
        "spread": spread,
        "limit": limit,
        "passed": not any(row.problems for row in rows),
        "rows": [asdict(row) for row in rows],
    }


def scratch(keep: Path | None) -> contextlib.AbstractContextManager[str]:
    """Where environments and results go: a new folder that stays, or one that does not."""
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="edgeworthy-runtimes-")
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise StepError(f"{keep} is there already: give --keep a new or an empty folder.")
    keep.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(str(keep))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", metavar="FILE.onnx", nargs="?", type=Path, default=DEMO_FILE)
    parser.add_argument("--pictures", metavar="DIR", type=Path, help="photographs; default scikit-image's")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here as well")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep environments and results here")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"largest difference (default {LIMIT:g})")
    options = parser.parse_args()
    from edgeworthy.errors import EdgeworthyError

    try:
        if not options.file.is_file():
            raise StepError(f"{options.file} is not there: run `make demo`, or give another file's path.")
        photos = pictures(options.pictures)
        with scratch(options.keep) as folder:
            figures = compare_all(options.file.resolve(), photos, Path(folder).resolve(), options.limit)
    except (EdgeworthyError, StepError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    failed = sum(bool(row["problems"]) for row in figures["rows"])
    print(f"FAILED: {failed} of {len(figures['rows'])}" if failed else "passed: the same everywhere")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
