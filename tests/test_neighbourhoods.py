"""Neighbourhood attention against loops over its definition, and Transformers' DiNAT from folder to file."""

import itertools
import math
import sys
import types

import numpy as np
import pytest
import torch
from benchmarks.small_configs import small_config

from edgeworthy import errors, export
from edgeworthy.exporting.classifier import Original
from edgeworthy.silence import quiet
from edgeworthy.sources import dinat, neighbourhoods
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.logits import logits_of
from edgeworthy.sources.neighbourhoods import attention_scores, neighbours_of, weighted_values
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.torchvision_shim import mend_torchvision
from edgeworthy.sources.untrained import make_sensitive

mend_torchvision()
NAMES = ["tabby cat", "dog", "teapot", "banana"]
HALVES = {"mean": (127.5,) * 3, "std": (127.5,) * 3}
# height, width, kernel size, dilation: fitting exactly, odd, and with unequal groups
CASES = [
    (3, 3, 3, 1),
    (5, 9, 3, 1),
    (7, 6, 5, 1),
    (6, 7, 3, 2),
    (9, 11, 3, 3),
    (10, 13, 5, 2),
    (14, 9, 3, 3),
    (8, 8, 7, 1),
    (15, 17, 3, 5),
]


def window(place, side, kernel_size, dilation):
    """Of the runs of a group's members that hold the place, the one whose middle is nearest to it."""
    members = [other for other in range(side) if other % dilation == place % dilation]
    runs = [members[at : at + kernel_size] for at in range(len(members) - kernel_size + 1)]
    return min((run for run in runs if place in run), key=lambda run: abs(run[kernel_size // 2] - place))


def by_loops(query, key, value, biases, kernel_size, dilation):
    """Scores, and sums weighted by the scores' softmax, pixel by pixel and neighbour by neighbour."""
    pictures, heads, height, width, _ = query.shape
    scores = np.zeros((pictures, heads, height, width, kernel_size**2))
    sums = np.zeros(value.shape)
    places = itertools.product(range(pictures), range(heads), range(height), range(width))
    for picture, head, row, column in places:
        around = [
            (r, c)
            for r in window(row, height, kernel_size, dilation)
            for c in window(column, width, kernel_size, dilation)
        ]
        for at, (r, c) in enumerate(around):
            down, right = (r - row) // dilation, (c - column) // dilation
            bias = biases[head, kernel_size - 1 + down, kernel_size - 1 + right]
            scores[picture, head, row, column, at] = (
                query[picture, head, row, column] @ key[picture, head, r, c] + bias
            )
        weights = np.exp(scores[picture, head, row, column])
        weights /= weights.sum()
        sums[picture, head, row, column] = sum(
            weight * value[picture, head, r, c] for weight, (r, c) in zip(weights, around, strict=True)
        )
    return scores, sums


def drawn(height, width, kernel_size, *, heads=2, channels=3, pictures=2):
    """Query, key, value and biases, float64."""
    generator = torch.Generator().manual_seed(3)
    shape = (pictures, heads, height, width, channels)
    span = 2 * kernel_size - 1
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]
    return (*tensors, torch.randn(heads, span, span, generator=generator, dtype=torch.float64))


def difference(height, width, kernel_size, dilation):
    """The largest from the loops, of scores and of sums."""
    query, key, value, biases = drawn(height, width, kernel_size)
    scores = attention_scores(query, key, biases, kernel_size, dilation)
    sums = weighted_values(scores.softmax(-1), value, kernel_size, dilation)
    wanted = by_loops(*(part.numpy() for part in (query, key, value, biases)), kernel_size, dilation)
    return max(
        np.abs(found.numpy() - right).max() for found, right in zip((scores, sums), wanted, strict=True)
    )


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_definition(case):
    assert difference(*case) < 1e-12


def test_neighbours_are_those_of_nattens_kernels():
    """Read off natten 0.17.4 on the CPU, whose weights were one at one neighbour and whose values counted."""
    assert neighbours_of(8, 3, 2).tolist() == [
        [0, 2, 4], [1, 3, 5], [0, 2, 4], [1, 3, 5], [2, 4, 6], [3, 5, 7], [2, 4, 6], [3, 5, 7],
    ]  # fmt: skip
    assert neighbours_of(11, 3, 3).tolist() == [
        [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8],
        [3, 6, 9], [4, 7, 10], [2, 5, 8], [3, 6, 9], [4, 7, 10],
    ]  # fmt: skip


@pytest.fixture
def fresh_tables():
    """No table of an earlier test, nor of this one afterwards."""
    neighbourhoods._pixels.cache_clear()
    yield
    neighbourhoods._pixels.cache_clear()


def one_further(table):
    """Windows begin one member late, where there is room."""
    return np.roll(table, -1, axis=0)


def shifted_further(table):
    """Windows of the outermost pixels lie where others' do."""
    return np.concatenate([table[2:3], table[1:-1], table[-3:-2]])


def undilated(table):
    """Neighbours stand side by side."""
    return table[:, :1] + np.arange(table.shape[1])


def backwards(table):
    """Neighbours in the wrong order."""
    return table[:, ::-1].copy()


@pytest.mark.usefixtures("fresh_tables")
@pytest.mark.parametrize(
    ("fault", "case"),
    [
        (one_further, (5, 9, 3, 1)),
        (one_further, (9, 11, 3, 3)),
        (shifted_further, (5, 9, 3, 1)),
        (undilated, (9, 11, 3, 3)),
        (backwards, (5, 9, 3, 1)),
    ],
)
def test_the_loops_find_wrong_windows(monkeypatch, fault, case):
    *_, biases = drawn(*case[:3])
    spread = neighbourhoods._spread(biases, *case)
    monkeypatch.setattr(neighbourhoods, "_spread", lambda *given: spread)  # windows alone are wrong
    monkeypatch.setattr(neighbourhoods, "neighbours_of", lambda *how: fault(neighbours_of(*how)))
    assert difference(*case) > 1e-2


def test_the_loops_find_wrong_biases(monkeypatch):
    right = neighbourhoods._distances
    monkeypatch.setattr(
        neighbourhoods, "_distances", lambda side, size, *rest: 2 * size - 2 - right(side, size, *rest)
    )
    assert difference(5, 9, 3, 1) > 1e-2


def test_what_is_gathered_at_once_is_bounded(monkeypatch):
    query, key, _, biases = drawn(9, 11, 3)
    whole = attention_scores(query, key, biases, 3, 3)
    monkeypatch.setattr(neighbourhoods, "_AT_ONCE", 7 * 4 * 9 * 3)
    runs = [(start, end) for start, end, _ in neighbourhoods._neighbours(key, 3, 3)]
    assert runs[:2] == [(0, 7), (7, 14)]
    assert runs[-1] == (98, 99)
    torch.testing.assert_close(attention_scores(query, key, biases, 3, 3), whole)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ((5, 4, 1), "kernel_size=4 and dilation=1, expected an odd kernel_size"),
        ((5, 3, 0), "kernel_size=3 and dilation=0, expected an odd kernel_size and a dilation of 1"),
        ((5, 3, 2), r"side of 5 is too short.*expected 6 or more: kernel_size=3 times dilation=2"),
    ],
)
def test_what_has_no_neighbourhood_says_so(case, message):
    with pytest.raises(ValueError, match=message):
        neighbours_of(*case)


@pytest.fixture(scope="module")
def weights():
    """A small DiNAT whose predictions depend on the picture: unequal groups, then a padded layer."""
    from transformers import DinatConfig, DinatForImageClassification

    config = DinatConfig(
        embed_dim=16, depths=[1, 1], num_heads=[1, 2], kernel_size=3, dilations=[[5], [3]], num_labels=4
    )
    config.id2label = dict(enumerate(NAMES))
    with quiet():
        dinat.mend_dinat()
        torch.manual_seed(5)
        model = DinatForImageClassification(config)
        make_sensitive(dinat_logits(model), (3, 64, 64))
    return model.eval()


def dinat_logits(model):
    return logits_of(model, None, flips_channels=False)


@pytest.fixture
def folder(weights, tmp_path):
    place = tmp_path / "cats"
    with quiet():
        weights.save_pretrained(place)
    return place


def ask(module, size=64):
    picture = np.random.default_rng(5).normal(size=(1, 3, size, size)).astype(np.float32)
    return Original(module.eval(), 4).ask(picture, "picture")


@pytest.mark.parametrize(("exporter", "opset"), [("torchscript", 12), ("dynamo", 12), ("torchscript", 17)])
def test_a_folder_becomes_a_file_that_predicts_the_same(folder, tmp_path, exporter, opset):
    target = tmp_path / "cats.onnx"
    artefact = export(
        f"hf:{folder}", target, exporter=exporter, opset=opset, input_size=(3, 64, 64), **HALVES
    )
    assert artefact.parity.verdict == "same"
    assert any("edgeworthy's own definition" in note for note in artefact.notes)


def test_the_module_computes_what_its_paper_says(weights):
    """softmax(q k / sqrt(d) + b) v with the heads side by side, whatever Transformers makes of it."""
    from transformers.models.dinat.modeling_dinat import NeighborhoodAttention

    module = NeighborhoodAttention(weights.config, 6, 2, 3, 2).double()
    torch.nn.init.normal_(module.rpb)
    features = torch.randn(1, 6, 7, 6, dtype=torch.float64)
    with torch.no_grad():
        found, attention = module(features, output_attentions=True)
        parts = [layer(features).numpy() for layer in (module.query, module.key, module.value)]
    query, key, value = (
        np.stack([part[..., :3], part[..., 3:]], axis=1)
        for part in parts  # [1, heads, 6, 7, 3]
    )
    scores, sums = by_loops(query / math.sqrt(3), key, value, module.rpb.detach().numpy(), 3, 2)
    np.testing.assert_allclose(found.numpy(), np.concatenate([sums[:, 0], sums[:, 1]], axis=-1), atol=1e-12)
    np.testing.assert_allclose(attention.numpy(), torch.from_numpy(scores).softmax(-1).numpy(), atol=1e-12)


@pytest.fixture
def natten(monkeypatch):
    """A library of that name and with its functions, which counts its calls."""
    calls = []

    def counted(function):
        return lambda *given: calls.append(function.__name__) or function(*given)

    functional = types.SimpleNamespace(
        natten2dqkrpb=counted(attention_scores), natten2dav=counted(weighted_values), calls=calls
    )
    monkeypatch.setitem(sys.modules, "natten", types.SimpleNamespace(functional=functional))
    monkeypatch.setitem(sys.modules, "natten.functional", functional)
    yield functional
    monkeypatch.undo()
    dinat.mend_dinat()


def test_an_installed_natten_is_what_the_file_is_compared_with(natten, folder, tmp_path):
    trained = load_source(SourceRequest(spec=f"hf:{folder}"))
    assert any("natten's in the original" in note for note in trained.notes)
    ask(trained.module)
    assert natten.calls == ["attention_scores", "weighted_values"] * 2  # a layer for each stage
    picture = torch.zeros(1, 3, 64, 64)
    with quiet(), torch.no_grad():
        torch.jit.trace(trained.module, (picture,), check_trace=False)
        torch.export.export(trained.module, (picture,))
    assert len(natten.calls) == 4


def test_a_natten_without_the_functions_is_as_if_it_were_not_there(natten, monkeypatch, folder):
    from transformers import utils
    from transformers.models import dinat as package
    from transformers.models.dinat import modeling_dinat

    del natten.natten2dqkrpb
    monkeypatch.setattr(utils, "is_natten_available", lambda: True)
    monkeypatch.setattr(package, "modeling_dinat", modeling_dinat)  # put back, for it is imported anew
    monkeypatch.delitem(sys.modules, modeling_dinat.__name__)
    assert dinat._natten() is None
    assert dinat._imported(there=False) is not modeling_dinat
    assert utils.is_natten_available()


def test_a_callable_and_a_pickle_of_it_run_too(weights, folder, tmp_path):
    right = ask(dinat_logits(weights))
    code = "from transformers import DinatForImageClassification as Dinat\n"
    code += f"def make():\n    return Dinat.from_pretrained({str(folder)!r})\n"
    (tmp_path / "mine.py").write_text(code)
    torch.save(weights, tmp_path / "whole.pt")
    for request in (
        SourceRequest(spec=f"{tmp_path / 'mine.py'}:make"),
        SourceRequest(spec=str(tmp_path / "whole.pt"), trust_pickle=True),
    ):
        with quiet():
            trained = load_source(request)
        assert any("edgeworthy's own definition" in note for note in trained.notes)
        np.testing.assert_allclose(ask(trained.module), right, atol=1e-5)


def test_a_kernel_that_fits_no_window_names_the_numbers(folder):
    config = small_config("dinat")
    config.kernel_size = 4
    config.save_pretrained(folder)
    with pytest.raises(errors.NotAClassifierError, match=r"kernel_size=4.* odd|odd.* 4"):
        export(
            f"hf:{folder}",
            folder / "m.onnx",
            untrained=True,
            classes=[f"class {number}" for number in range(config.num_labels)],
            input_size=(3, 64, 64),
            **HALVES,
        )
