"""Is a fault that is planted in a file found where it is? Every node of a resnet18 and a ViT, one at a time.

The models have random weights from a fixed seed, made sensitive as `export --untrained` makes them. For each
node that depends on the picture, and each kind of fault that it can have (`tests/planting.py`), the file with
the fault is compared inside with the sound file, and with the model in PyTorch, on one probe. Of two files,
the fault is found where the node that is named is the one with the fault (a dropped activation: the one node
that only the sound file has there); of a file and a model, where it is among the nodes between what agrees
and what does not (a dropped activation: its module among the modules). A fault that moves no probability by
more than 1e-5 changes nothing that a proof would see; it is counted apart.

    python benchmarks/locate.py [--models resnet18 vit_tiny_patch16_224] [--faults louder swapped ...]
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from onnx import NodeProto

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.planting import FAULTS, Sound, found_in_files, found_in_model, planted

from edgeworthy.parity import TOLERANCE
from edgeworthy.results import Parting
from edgeworthy.sandbox import Sandbox
from edgeworthy.wiring import described

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

    @property
    def in_files(self) -> bool:
        """Whether it was found between two files."""
        return found_in_files(self.fault, self.node, self.files)

    @property
    def in_model(self) -> bool:
        """Whether it was found between a file and the model."""
        return found_in_model(self.fault, self.node, self.model)

    @property
    def missed(self) -> bool:
        """Whether it can be seen, and was not found."""
        return self.moves > TOLERANCE and not (self.in_files and self.in_model)


def sweep(sound: Sound, fault: str) -> list[Place]:
    """Plant a fault in each node."""
    places = []
    for at in sound.places():
        changed, node = planted(sound.model, at, FAULTS[fault]), sound.model.graph.node[at]
        if changed is None:
            continue
        files, modules, moves = sound.look(changed)
        places.append(Place(fault, node, moves, files, modules))
        if places[-1].missed:
            print(f"{fault} in {described([node])[0]}: {files}\n  {modules}", file=sys.stderr)
    return places


def row(name: str, fault: str, places: Sequence[Place]) -> str:
    """A line of the table."""
    telling = [place for place in places if place.moves > TOLERANCE]
    silent = [place for place in places if place.moves <= TOLERANCE]
    named = [len(place.model.between_first) for place in telling if place.in_model]
    cells = (
        name,
        fault,
        len(telling),
        sum(place.in_files for place in telling),
        sum(place.in_model for place in telling),
        f"{statistics.median(named):g}, at most {max(named)}" if named else "-",
        len(silent),
        sum(place.in_files for place in silent),
        sum(place.in_model for place in silent),
    )
    return f"| {' | '.join(map(str, cells))} |"


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
            sound = Sound(f"timm:{name}", folder, sandbox)
            for fault in arguments.faults:
                places = sweep(sound, fault)
                failures += sum(place.missed for place in places)
                if places:
                    print(row(name, fault, places), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
