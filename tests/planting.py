"""Faults that are planted in one node of a sound file, so that somebody has to find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper

from edgeworthy import export
from edgeworthy.against import Trained
from edgeworthy.filemodel import FileModel
from edgeworthy.graph import Names, constant, redirect
from edgeworthy.locating import locate
from edgeworthy.model import read, to_bytes
from edgeworthy.modulewise import locate_module
from edgeworthy.probes import moved, standard_probes
from edgeworthy.results import Parting
from edgeworthy.sandbox import Sandbox
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.untrained import make_sensitive
from edgeworthy.tapping import Tapped
from edgeworthy.wiring import Wiring, described, module_of

Fault = Callable[[ModelProto, int], bool]  # plants itself in the node at that place, if it can


def louder(model: ModelProto, place: int) -> bool:
    """The weights are a twentieth larger; where all are zero, not zero."""
    return _changed(model, place, lambda values: values * 1.05 if values.any() else values + 0.05)


def swapped(model: ModelProto, place: int) -> bool:
    """Two slices of the weights have changed places."""

    def swap(values: np.ndarray) -> np.ndarray | None:
        axis = next((axis for axis, size in enumerate(values.shape) if size > 1), None)
        if axis is None:
            return None
        order = np.arange(values.shape[axis])
        order[:2] = 1, 0
        return values.take(order, axis=axis)

    return _changed(model, place, swap)


def one_weight(model: ModelProto, place: int) -> bool:
    """The largest of the weights is a tenth larger, and no other."""

    def change(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        changed.flat[np.abs(values).argmax()] *= np.float32(1.1)
        return changed

    return _changed(model, place, change)


def shifted(model: ModelProto, place: int) -> bool:
    """The padding of a convolution or pooling is one row off."""
    for entry in model.graph.node[place].attribute:
        if entry.name == "pads" and entry.ints[0]:
            entry.ints[0] -= 1
            entry.ints[len(entry.ints) // 2] += 1
            return True
    return False


def dropped(model: ModelProto, place: int) -> bool:
    """An activation is gone, and what read it reads what it read."""
    node = model.graph.node[place]
    if node.op_type not in {"Relu", "Erf"}:
        return False
    redirect(model.graph, node.output[0], node.input[0])
    model.graph.node.remove(node)
    return True


def weights_of(model: ModelProto, place: int) -> int:
    """How many constant numbers a node works with, at most, in one of its inputs."""
    node = model.graph.node[place]
    at = _weights(model, node)
    values = None if at is None else constant(model.graph, node.input[at])
    return 0 if values is None else values.size


FAULTS: dict[str, Fault] = {
    fault.__name__: fault for fault in (louder, swapped, one_weight, shifted, dropped)
}


def planted(model: ModelProto, place: int, fault: Fault) -> ModelProto | None:
    """A copy with the fault; None where that node cannot have it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy if fault(copy, place) else None


class Sound:
    """A model with random weights, and its file: what faulty copies of the file are compared with.

    Args:
        source: of a model for ImageNet.
        folder: for its files.
        sandbox: where they run.
        size: of its input, in place of its own.

    Attributes:
        path, weights: of the file, and of the checkpoint that it was made from.
        request: for the model.
        model: what the file holds.
    """

    def __init__(self, source: str, folder: Path, sandbox: Sandbox, size: tuple[int, int, int] | None = None):
        name = source.rpartition(":")[2]
        self.path, self.weights = folder / f"{name}.onnx", folder / f"{name}.pth"
        self.request = SourceRequest(spec=source, checkpoint=self.weights)
        trained = load_source(SourceRequest(spec=source, untrained=True))
        make_sensitive(trained.module, size or trained.input_size)
        torch.save(trained.module.state_dict(), self.weights)
        export(source, self.path, checkpoint=self.weights, classes="imagenet-1k", input_size=size)
        self.model = read(self.path)
        self._file, self._sandbox = FileModel(self.path), sandbox
        self._folders = [folder / f"{name}-{side}" for side in ("sound", "faulty")]
        for one in self._folders:
            one.mkdir()
        channels, height, width = self._file.input_size
        self._probe = standard_probes(height, width, channels)[0]
        self._picture = self._file.values(self._probe.pixels)
        pictures = [self._picture, next(moved(self._picture))]
        self._reference = Tapped(self.path, pictures, sandbox, self._folders[0])
        self._expected = self._file.probabilities(self._probe.pixels)
        with Trained(self.request, self._file).asking() as trained:
            self._taps = trained.taps(self._probe.pixels)

    def places(self) -> list[int]:
        """Of the nodes that depend on the picture."""
        wiring = Wiring(self.model)
        return [place for place, node in enumerate(self.model.graph.node) if wiring.read_by(node)]

    def look(self, faulty: ModelProto) -> tuple[Parting, Parting, float]:
        """Where a faulty file parts from the sound one, and from the model; how far a probability moves."""
        path = self._folders[1] / "faulty.onnx"
        path.write_bytes(to_bytes(faulty))
        tapped = Tapped(path, [self._picture], self._sandbox, self._folders[1])
        scores, probe = self._file.scores_name, self._probe.name
        files = locate(self._reference, tapped, scores=(scores, scores), probe=probe)
        modules = locate_module(tapped, self._taps, scores=scores, probe=probe)
        seen = tapped[scores]
        assert seen is not None
        moves = np.abs(seen.sketches[0] - self._expected).max()  # so few values are their own sketch
        return files, modules, float(moves)


def found_in_files(fault: str, node: NodeProto, parting: Parting) -> bool:
    """Whether the node that is named is the one; of a dropped one, whether only the sound file has it."""
    if fault == dropped.__name__:
        return set(parting.between_first) - set(parting.between_second) == set(described([node]))
    return parting.first is not None and tuple(node.output) == parting.first.outputs


def found_in_model(fault: str, node: NodeProto, parting: Parting) -> bool:
    """Whether the node is among those that are named; of a dropped one, its module among the modules."""
    if fault == dropped.__name__:
        return module_of(node) in parting.modules
    return described([node])[0] in parting.between_first


def _weights(model: ModelProto, node: NodeProto) -> int | None:
    """Which input of a node holds constant numbers, the largest."""
    found = [(at, constant(model.graph, name)) for at, name in enumerate(node.input) if name]
    floats = [(values.size, -at) for at, values in found if values is not None and values.dtype.kind == "f"]
    return -max(floats)[1] if floats else None


def _changed(model: ModelProto, place: int, change: Callable[[np.ndarray], np.ndarray | None]) -> bool:
    """Give one node weights of its own: others may share them."""
    node = model.graph.node[place]
    at = _weights(model, node)
    values = None if at is None else constant(model.graph, node.input[at])
    changed = None if values is None else change(values)
    if at is None or values is None or changed is None or np.array_equal(changed, values):
        return False
    name = Names(model)("fault")
    model.graph.initializer.append(numpy_helper.from_array(changed.astype(values.dtype), name))
    node.input[at] = name
    return True
