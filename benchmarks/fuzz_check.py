"""Mutated model files against `edgeworthy check` and `repair`: no traceback, no hang, always a verdict.

Files are made from small sound ones by flipping bits, cutting, splicing pieces of protobuf, closing cycles,
absurd dimensions and enormous names, from a seed. They are checked by the command line in processes that are
watched and limited to 2 GiB: the exit code has to be 0, 1 or 2, nothing may look like a traceback. Twenty
files share a process, as in `edgeworthy check FILE...`; where that is not well, or takes more than 10 s, they
are repeated one by one. With --repair, files are repaired instead, in a dry run: each has to come out
conformant and proven, or be refused with a reason.

    python benchmarks/fuzz_check.py [--count 20000] [--seed 1] [--workers 2] [--repair] [--keep DIR]
"""

import argparse
import concurrent.futures
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.factory import classifier

BATCH = 20
LIMIT_S, START_S = 10.0, 2.0  # for one file, and for starting the program
LIMIT_BYTES = 2 << 30
LIMIT = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({LIMIT_BYTES}, {LIMIT_BYTES}))  # children have as much each
"""
CHECK = f"""{LIMIT}
from edgeworthy.cli import main
main(['check', '--json', *sys.argv[1:]])
"""
REPAIR = f"""{LIMIT}
from edgeworthy import EdgeworthyError, repair
from edgeworthy.sandbox import Sandbox
codes = {{0}}
with Sandbox(memory_bytes={LIMIT_BYTES}) as sandbox:
    for path in sys.argv[1:]:
        try:
            done = repair(
                path, dry_run=True, strict=True, diff=True, sandbox=sandbox, mean=0.5, std=0.25,
                allow=['numbered-classes', 'softmax-twice'],
            )
            assert done.after.conforms and (done.parity is None or done.parity.verdict != 'different')
        except EdgeworthyError as error:
            codes.add(error.exit_code)
            print(error, file=sys.stderr)
            if 'failed on this file' in str(error):  # a repair that did not foresee such a graph
                print('not foreseen', file=sys.stderr)
sys.exit(max(codes))
"""

Mutation = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    mutation: str
    code: int
    seconds: float
    complaint: str = ""


def seeds() -> list[bytes]:
    """Sound files to start from."""
    models = [
        classifier(),
        classifier(layout="nhwc", opset=17),
        classifier(channels=1, normalization=None, activation=""),
        classifier(names=tuple(f"class {i}" for i in range(50)), activation="Sigmoid"),
        deep(),
    ]
    return [model.SerializeToString() for model in models]


def deep() -> onnx.ModelProto:
    """A few convolutions with a branch."""
    model = classifier()
    name = model.graph.input[0].name
    weight = helper.make_tensor("kernel", TensorProto.FLOAT, [3, 3, 1, 1], [0.1] * 9)
    model.graph.initializer.append(weight)
    nodes = [
        helper.make_node("Conv", [name, "kernel"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["b", name], ["c"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.node[3].input[0] = "c"
    return model


def flip(content: bytes, rng: random.Random) -> bytes:
    """One to sixteen bits flipped."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 16)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The beginning, the end, or a hole."""
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return rng.choice([content[:start], content[start:], content[:start] + content[end:]])


def splice(content: bytes, rng: random.Random) -> bytes:
    """A piece of one file inside another."""
    other = rng.choice(SEEDS)
    start, end = sorted(rng.randrange(len(other)) for _ in range(2))
    at = rng.randrange(len(content))
    return content[:at] + other[start:end] + content[at:]


def repeat(content: bytes, rng: random.Random) -> bytes:
    """Fields that stand once stand twice: protobuf merges them."""
    return content + rng.choice(SEEDS)


def edited(change: Callable[[onnx.ModelProto, random.Random], None]) -> Mutation:
    """A mutation of the parsed model."""

    def mutate(content: bytes, rng: random.Random) -> bytes:
        model = onnx.ModelProto.FromString(content)
        change(model, rng)
        return model.SerializeToString()

    return mutate


def cycle(model: onnx.ModelProto, rng: random.Random) -> None:
    node, other = rng.choice(model.graph.node), rng.choice(model.graph.node)
    if node.input and other.output:
        node.input[rng.randrange(len(node.input))] = other.output[0]


def absurd_dims(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [0, -1, 1, 2**31, 2**40, 2**62, -(2**63)]
    shape = rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape
    for dim in shape.dim:
        if rng.random() < 0.6:
            dim.dim_value = rng.choice(values)
    if rng.random() < 0.3 and model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        for axis in range(len(tensor.dims)):
            tensor.dims[axis] = rng.choice(values)


def absurd_attributes(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    for name in ("axis", "axes", "kernel_shape", "pads", "group", "perm", "to", "size"):
        value = rng.choice([-1, 0, 2**31, 2**62, [2**62] * 4, [-1] * 8, [], "x" * 100, 1e308])
        if rng.random() < 0.4:
            node.attribute.append(helper.make_attribute(name, value, attr_type=None if value != [] else 7))


def huge_name(model: onnx.ModelProto, rng: random.Random) -> None:
    name = rng.choice(["x", "é", "\n", "0:a;"]) * (10_000_000 // 4)
    where = rng.randrange(4)
    if where == 0:
        model.graph.input[0].name = name
    elif where == 1:
        model.graph.output[0].name = "scores-" + name
    elif where == 2:
        model.graph.doc_string = name
    else:
        model.graph.node[0].op_type = name


def nested(model: onnx.ModelProto, rng: random.Random) -> None:
    depth = rng.choice([10, 90, 300])
    body = helper.make_graph([], "g", [], [])
    for _ in range(depth):
        node = helper.make_node(
            "If", ["c"], ["o"], then_branch=body, else_branch=helper.make_graph([], "e", [], [])
        )
        body = helper.make_graph([node], "g", [], [])
    model.graph.node.append(body.node[0])


def operators(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(
        ["Loop", "Scan", "If", "Resize", "Reshape", "Expand", "Tile", "ConstantOfShape", "Nope"]
    )
    if rng.random() < 0.3:
        node.domain = rng.choice(["com.microsoft", "ai.onnx.ml", "x"])


def types(model: onnx.ModelProto, rng: random.Random) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if rng.random() < 0.6:
            value.type.tensor_type.elem_type = rng.choice([0, 2, 7, 8, 9, 10, 16, 99, 2**31 - 1])
    if rng.random() < 0.3:
        model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1
    if rng.random() < 0.2:
        model.opset_import[0].version = rng.choice([-1, 0, 1, 5, 99, 2**62])
    if rng.random() < 0.2:
        model.ir_version = rng.choice([-1, 0, 1, 3, 99, 2**62])


def external(model: onnx.ModelProto, rng: random.Random) -> None:
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        place = rng.choice(["/etc/passwd", "../../../etc/shadow", "/dev/zero", "", "x" * 5000, "m.onnx"])
        tensor.external_data.add(key="location", value=place)
        tensor.external_data.add(key="length", value=str(rng.choice([-1, 0, 10, 2**62])))


MUTATIONS: dict[str, Mutation] = {
    "flip": flip,
    "cut": cut,
    "splice": splice,
    "repeat": repeat,
    "cycle": edited(cycle),
    "absurd dims": edited(absurd_dims),
    "absurd attributes": edited(absurd_attributes),
    "huge name": edited(huge_name),
    "nested": edited(nested),
    "operators": edited(operators),
    "types": edited(types),
    "external": edited(external),
}
WEIGHTS = [6, 3, 3, 1, 2, 3, 3, 0.1, 0.2, 2, 3, 0.5]

SEEDS = seeds()


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """The mutation's name and the file, the same for the same numbers."""
    rng = random.Random(f"{seed}/{number}")
    name = rng.choices(list(MUTATIONS), WEIGHTS)[0]
    content = rng.choice(SEEDS)
    for _ in range(rng.choice([1, 1, 1, 2])):
        try:
            content = MUTATIONS[name](content, rng)
        except Exception:  # a mutant that cannot be mutated again
            break
    return name, content


def check(paths: list[Path], names: list[str], program: str) -> list[Outcome]:
    """Check files in one process; where that is not well, one by one, to find the culprit."""
    started = time.perf_counter()
    limit = LIMIT_S * len(paths) + START_S
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, paths)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    try:
        _, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        _, errors = process.communicate()
        errors = f"hangs: {errors}"
    seconds = time.perf_counter() - started
    bad = process.returncode not in {0, 1, 2} or any(
        word in errors for word in ("Traceback", "not foreseen", "hangs")
    )
    if (bad or seconds > LIMIT_S) and len(paths) > 1:
        pairs = zip(paths, names, strict=True)
        return [one for path, name in pairs for one in check([path], [name], program)]
    complaint = f"exit {process.returncode}: {errors.strip()[-300:]}" if bad else ""
    return [Outcome(name, process.returncode, seconds / len(paths), complaint) for name in names]


def batch(seed: int, first: int, count: int, program: str, keep: Path | None) -> list[Outcome]:
    """Make files, check them, and keep the culprits."""
    with tempfile.TemporaryDirectory(prefix="edgeworthy-fuzz-") as folder:
        paths, names = [], []
        for number in range(first, first + count):
            name, content = mutant(seed, number)
            path = Path(folder) / f"{number}.onnx"
            path.write_bytes(content)
            paths.append(path)
            names.append(name)
        outcomes = check(paths, names, program)
        for path, outcome in zip(paths, outcomes, strict=True):
            if outcome.complaint and keep:
                keep.mkdir(parents=True, exist_ok=True)
                path.rename(keep / path.name)
        return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="keep the files that broke something here")
    parser.add_argument("--repair", action="store_true", help="repair the files instead of checking them")
    options = parser.parse_args()
    program = REPAIR if options.repair else CHECK
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        jobs = [
            pool.submit(batch, options.seed, first, min(BATCH, options.count - first), program, options.keep)
            for first in range(0, options.count, BATCH)
        ]
        for job in concurrent.futures.as_completed(jobs):
            outcomes += job.result()
            print(f"\r{len(outcomes)} of {options.count}", end="", file=sys.stderr, flush=True)
    broken = [outcome for outcome in outcomes if outcome.complaint]
    print(f"\nseed {options.seed}, {len(outcomes)} files in {time.perf_counter() - started:.0f} s")
    for name, count in Counter(outcome.mutation for outcome in outcomes).most_common():
        worst = max(outcome.seconds for outcome in outcomes if outcome.mutation == name)
        print(f"  {name:<20}{count:>7} files, slowest {worst:5.2f} s")
    for outcome in broken[:20]:
        print(f"BROKEN by {outcome.mutation}: {outcome.complaint}")
    print(f"{len(broken)} of {len(outcomes)} broke something")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
