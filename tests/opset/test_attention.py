"""Attention."""

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import assert_same, graph, inferred, node, random

FOUR = {name: random(2, 3, length, 4, seed=length) for name, length in (("q", 5), ("k", 7), ("v", 7))}
THREE = {name: random(2, length, 12, seed=length) for name, length in (("q", 5), ("k", 7), ("v", 7))}
HEADS = {"q_num_heads": 3, "kv_num_heads": 3}


def softmax(scores):
    """Along the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def by_hand(feeds, mask=0.0, scale=0.5):
    """What attention is, in float64."""
    q, k, v = (feeds[name].astype(np.float64) for name in "qkv")
    return (softmax(q @ k.swapaxes(2, 3) * scale + mask) @ v).astype(np.float32)


def attention(feeds, opset=23, *, mask=None, **attributes):
    """An Attention node of these inputs."""
    inputs = ["q", "k", "v"] if mask is None else ["q", "k", "v", "mask"]
    constants = {} if mask is None else {"mask": mask}
    return graph(node("Attention", inputs, **attributes), feeds, opset, constants=constants)


@pytest.mark.parametrize("opset", [23, 24, 25])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_heads_on_an_axis_of_their_own(scale, opset):
    attributes = {} if scale is None else {"scale": scale}
    assert_same(
        attention(FOUR, opset, **attributes), FOUR,
        tolerance=1e-6, targets=(12, 17), expected=[by_hand(FOUR, scale=scale or 0.5)],
    )  # fmt: skip


def test_heads_side_by_side():
    heads = {name: value.reshape(2, -1, 3, 4).swapaxes(1, 2) for name, value in THREE.items()}
    expected = by_hand(heads).swapaxes(1, 2).reshape(2, 5, 12)
    assert_same(attention(THREE, **HEADS), THREE, tolerance=1e-6, expected=[expected])


def test_a_causal_mask():
    allowed = np.tril(np.ones((5, 7), dtype=bool))
    expected = [by_hand(FOUR, np.where(allowed, 0, -np.inf))]
    assert_same(attention(FOUR, is_causal=1), FOUR, tolerance=1e-6, expected=expected)


def test_a_mask_of_numbers():
    mask = random(5, 7, seed=9)
    assert_same(attention(FOUR, mask=mask), FOUR, tolerance=1e-6, expected=[by_hand(FOUR, mask)])


@pytest.mark.parametrize("causal", [0, 1])
def test_a_boolean_mask(causal):
    mask = random(2, 1, 5, 7, seed=9) > -1
    mask[..., 0] = True
    both = mask & np.tril(np.ones((5, 7), dtype=bool)) if causal else mask
    expected = [by_hand(FOUR, np.where(both, 0, -np.inf))]
    assert_same(attention(FOUR, mask=mask, is_causal=causal), FOUR, tolerance=1e-6, expected=expected)


@pytest.mark.parametrize("boolean", [True, False])
def test_a_query_that_may_look_at_nothing_gets_nothing(boolean):
    allowed = np.ones((5, 7), dtype=bool)
    allowed[2] = False
    mask = allowed if boolean else np.where(allowed, np.float32(0), np.float32(-np.inf))
    expected = by_hand(FOUR)
    expected[:, :, 2] = 0
    assert_same(attention(FOUR, mask=mask), FOUR, tolerance=1e-6, expected=[expected])


REFUSED = [
    ({"softcap": 2.0}, "softcap"),
    ({"softmax_precision": TensorProto.DOUBLE}, "softmax_precision"),
]


@pytest.mark.parametrize(("attributes", "why"), REFUSED)
def test_rarities_are_refused(attributes, why):
    model = attention(FOUR, **attributes)
    with pytest.raises(UnconvertibleError, match=rf"Attention .*'the_attention'.*opset 23 to 22.*{why}"):
        convert(model, 17, inferred(model))


def test_shared_keys_are_refused():
    feeds = {"q": random(2, 6, 5, 4), "k": FOUR["k"], "v": FOUR["v"]}
    model = attention(feeds)
    with pytest.raises(UnconvertibleError, match="queries share keys"):
        convert(model, 17, inferred(model))


def test_windows_are_refused():
    model = attention(FOUR, 25, left_window_size=2)
    with pytest.raises(UnconvertibleError, match="opset 25 to 24: its queries look through a window"):
        convert(model, 17, inferred(model))


def test_caches_are_refused():
    feeds = {**FOUR, "pk": FOUR["k"], "pv": FOUR["v"]}
    model = graph(node("Attention", ["q", "k", "v", "", "pk", "pv"]), feeds, 24)
    with pytest.raises(UnconvertibleError, match="opset 24 to 23: it works on a cache"):
        convert(model, 17, inferred(model))


def test_a_short_mask_is_refused():
    model = attention(FOUR, mask=np.ones((5, 3), dtype=np.float32))
    with pytest.raises(UnconvertibleError, match="its mask is shorter than its keys"):
        convert(model, 17, inferred(model))


def test_results_beside_the_result_are_refused():
    outputs = ["y", "", "", "scores"]
    model = graph(node("Attention", list("qkv"), outputs), FOUR, 23)
    with pytest.raises(UnconvertibleError, match="it hands out more than its result"):
        convert(model, 17, inferred(model))
