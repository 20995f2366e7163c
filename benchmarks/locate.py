"""Is a fault that is planted in a file found where it is? Every node of a resnet18 and a ViT, one at a time.

The models have random weights from a fixed seed, made sensitive as `export --untrained` makes them. For each
node that depends on the picture, and each kind of fault that it can have (`tests/planting.py`), the file with
the fault is compared inside with the sound file, and with the model in PyTorch, on one probe. Of two files,
the fault is found where the node that is named is the one with the fault (a dropped activation: where it is the
one node that only the sound file has there); of a file and a model, where it is among the nodes between what
agrees and what does not (a dropped activation: its module among the modules). A fault that moves no probability
by more than 1e-5 changes nothing that a proof would see; it is counted apart.

    python benchmarks/locate.py [--models resnet18 vit_tiny_patch16_224] [--faults louder swapped ...]
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from onnx import NodeProto

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.planting import FAULTS, planted

from edgeworthy import export
from edgeworthy.against import Trained
from edgeworthy.filemodel import FileModel
from edgeworthy.locating import locate
from edgeworthy.model import read, to_bytes
from edgeworthy.modulewise import locate_module
from edgeworthy.parity import TOLERANCE
from edgeworthy.probes import moved, standard_probes
from edgeworthy.results import Parting
from edgeworthy.sandbox import Sandbox
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.untrained import make_sensitive
from edgeworthy.tapping import Tapped
from edgeworthy.wiring import Wiring, described, module_of

MODELS = ("resnet18", "vit_tiny_patch16_224")
HEAD = (
    "model",
    "fault",
    "planted",
    "found, two files",
    "found, file and model",
    "nodes named",
    "planted without effect",
    "found, two files",
    "found, file and model",
)


class Place(NamedTuple):
    """Where a fault was planted, how far it moves a probability, and what came of looking for it."""

    fault: str
    node: NodeProto
    moves: float
    files: Parting
    model: Parting


def found_in_files(place: Place) -> bool:
    """Whether the node that is named is the one."""
    named = described([place.node])[0]
    if place.fault == "dropped":
        return set(place.files.between_first) - set(place.files.between_second) == {named}
    first = place.files.first
    return first is not None and tuple(place.node.output) == first.outputs


def found_in_model(place: Place) -> bool:
    """Whether the node is among those that are named, or its module among the modules."""
    if place.fault == "dropped":
        return module_of(place.node) in place.model.modules
    return described([place.node])[0] in place.model.between_first


def made(name: str, folder: Path) -> tuple[Path, Path]:
    """An exported file of random weights, and its weights."""
    file, weights = folder / f"{name}.onnx", folder / f"{name}.pth"
    trained = load_source(SourceRequest(spec=f"timm:{name}", untrained=True))
    make_sensitive(trained.module, trained.input_size)
    torch.save(trained.module.state_dict(), weights)
    export(f"timm:{name}", file, checkpoint=weights, classes="imagenet-1k")
    return file, weights


def sweep(name: str, faults: Sequence[str], folder: Path, sandbox: Sandbox) -> list[Place]:
    """Plant each fault in each node."""
    path, weights = made(name, folder)
    sound, model = FileModel(path), read(path)
    channels, height, width = sound.input_size
    probe = standard_probes(height, width, channels)[0]
    picture = sound.values(probe.pixels)
    folders = [folder / f"{name}-{side}" for side in ("sound", "faulty")]
    for one in folders:
        one.mkdir()
    reference = Tapped(path, [picture, next(moved(picture))], sandbox, folders[0])
    request = SourceRequest(spec=f"timm:{name}", checkpoint=weights)
    with Trained(request, sound).asking() as trained:
        taps = trained.taps(probe.pixels)
    expected = sound.probabilities(probe.pixels)
    faulty, places = folder / f"{name}-faulty.onnx", []
    wiring = Wiring(model)
    for fault in faults:
        for at, node in enumerate(model.graph.node):
            changed = planted(model, at, FAULTS[fault]) if wiring.read_by(node) else None
            if changed is None:
                continue
            faulty.write_bytes(to_bytes(changed))
            tapped = Tapped(faulty, [picture], sandbox, folders[1])
            files = locate(reference, tapped, scores=(sound.scores_name, sound.scores_name), probe=probe.name)
            modules = locate_module(tapped, taps, scores=sound.scores_name, probe=probe.name)
            scores = FileModel(faulty).probabilities(probe.pixels)
            places.append(Place(fault, node, float(np.abs(scores - expected).max()), files, modules))
            if missed(places[-1]):
                print(f"{name}, {fault} in {described([node])[0]}: {files}\n  {modules}", file=sys.stderr)
    return places


def rows(name: str, places: Sequence[Place]) -> list[str]:
    """A line for each kind of fault."""
    by_fault = defaultdict(list)
    for place in places:
        by_fault[place.fault].append(place)
    lines = []
    for fault, some in by_fault.items():
        telling = [place for place in some if place.moves > TOLERANCE]
        silent = [place for place in some if place.moves <= TOLERANCE]
        named = [len(place.model.between_first) for place in telling if found_in_model(place)]
        cells = (
            name,
            fault,
            len(telling),
            sum(map(found_in_files, telling)),
            sum(map(found_in_model, telling)),
            f"{statistics.median(named):g}, at most {max(named)}" if named else "-",
            len(silent),
            sum(map(found_in_files, silent)),
            sum(map(found_in_model, silent)),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def missed(place: Place) -> bool:
    """Whether a fault that can be seen was not found."""
    return place.moves > TOLERANCE and not (found_in_files(place) and found_in_model(place))


def main() -> int:
    """Print the table; 1 where a fault was not found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    failures = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sandbox = stack.enter_context(Sandbox())
        for name in arguments.models:
            places = sweep(name, arguments.faults, folder, sandbox)
            failures += sum(map(missed, places))
            print("\n".join(rows(name, places)), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
