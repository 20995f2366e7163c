"""Resize and Upsample."""

import numpy as np
import pytest

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import assert_same, converted, graph, inferred, node, on_runtime, random

X = random(1, 2, 4, 6)
F = np.float32
MODES = ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]


def resize(opset, *, feeds=None, dynamic=False, scales=None, sizes=None, **attributes):
    """A Resize of X by constants."""
    constants = {"scales": scales} if scales is not None else {"sizes": np.array(sizes)}
    inputs = ["x", "", "scales"] if scales is not None else ["x", "", "", "sizes"]
    return graph(
        node("Resize", inputs, **attributes), feeds or {"x": X}, opset, constants=constants, dynamic=dynamic
    )


@pytest.mark.parametrize("coordinates", MODES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("axes", [None, [2, 3], [3, 2]])
def test_scales_of_some_axes_become_scales_of_all(axes, mode, coordinates):
    scales = F([1, 1, 2, 1.5]) if axes is None else F([2, 1.5])
    attributes = {} if axes is None else {"axes": axes}
    model = resize(18, scales=scales, mode=mode, coordinate_transformation_mode=coordinates, **attributes)
    assert_same(model, {"x": X}, targets=(12, 17))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("axes", [None, [2, 3], [3, 2]])
def test_sizes_of_some_axes_become_sizes_of_all(axes, mode):
    sizes = [1, 2, 8, 9] if axes is None else [8, 9]
    attributes = {} if axes is None else {"axes": axes}
    assert_same(resize(18, sizes=sizes, mode=mode, **attributes), {"x": X}, targets=(12, 17))


def test_axes_may_count_from_the_back():
    for values in ({"scales": F([2, 1.5])}, {"sizes": [9, 8]}):
        model = resize(18, axes=[-1, 2], mode="linear", **values)
        assert_same(model, {"x": X}, reference=False, targets=(12, 17), tolerance=1e-6)


@pytest.mark.parametrize("place", ["scales", "sizes"])
def test_computed_values_of_some_axes_are_put_between_those_of_the_others(place):
    values = F([1.5, 2]) if place == "scales" else np.array([9, 8])
    inputs = ["x", "", "values"] if place == "scales" else ["x", "", "", "values"]
    feeds = {"x": X, "values": values}
    model = graph(node("Resize", inputs, axes=[3, 2], mode="linear"), feeds, 18)
    assert_same(model, feeds, targets=(12, 17))


def test_sizes_of_a_picture_of_unknown_channels():
    model = resize(18, sizes=[8, 9], axes=[2, 3], dynamic=True)
    assert_same(model, {"x": X}, targets=(12, 17))


def test_smoothing_while_growing_does_nothing():
    model = resize(18, scales=F([1, 1, 2, 2]), mode="linear", antialias=1)
    assert_same(model, {"x": X}, tolerance=1e-6, targets=(12, 17))


@pytest.mark.parametrize("values", [{"scales": F([1, 1, 0.5, 0.5])}, {"sizes": [1, 2, 2, 3]}])
def test_smoothing_while_shrinking_is_refused(values):
    model = resize(18, mode="linear", antialias=1, **values)
    with pytest.raises(UnconvertibleError, match=r"Resize .*'the_resize'.*opset 18 to 17.*antialias"):
        convert(model, 17, inferred(model))


@pytest.mark.parametrize(("policy", "result"), [("not_larger", (8, 12)), ("not_smaller", (16, 24))])
def test_an_aspect_ratio_becomes_sizes(policy, result):
    model = resize(18, sizes=[16, 12], axes=[2, 3], mode="linear", keep_aspect_ratio_policy=policy)
    assert_same(model, {"x": X}, tolerance=1e-6, targets=(12, 17))
    assert on_runtime(converted(model, 12), {"x": X})[0].shape[2:] == result


def test_an_aspect_ratio_that_needs_rounding_is_refused():
    model = resize(18, sizes=[7, 7], axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    with pytest.raises(UnconvertibleError, match="keep_aspect_ratio_policy"):
        convert(model, 17, inferred(model))


@pytest.mark.parametrize("values", [{"scales": F([1, 1, 1.5, 2])}, {"sizes": [1, 2, 7, 9]}])
def test_symmetric_pixels_are_half_pixels_where_nothing_is_rounded(values):
    model = resize(19, mode="linear", coordinate_transformation_mode="half_pixel_symmetric", **values)
    assert_same(model, {"x": X}, tolerance=1e-6, targets=(12, 17))


def test_symmetric_pixels_of_rounded_sizes_are_refused():
    scales, mode = F([1, 1, 1.3, 2]), "half_pixel_symmetric"
    model = resize(19, scales=scales, mode="linear", coordinate_transformation_mode=mode)
    with pytest.raises(UnconvertibleError, match=r"opset 19 to 18.*half_pixel_symmetric"):
        convert(model, 17, inferred(model))


@pytest.mark.parametrize("opset", [11, 13])
def test_resizing_by_scales_stays(opset):
    constants = {"roi": F([]), "scales": F([1, 1, 2, 2])}
    made = node("Resize", ["x", "roi", "scales"], mode="linear")
    assert_same(graph(made, {"x": X}, opset, constants=constants), {"x": X})


@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 1.5, 2.5]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 8, 9])
def test_upsampling_becomes_resizing(opset, mode, scales):
    if opset == 9:
        model = graph(
            node("Upsample", ["x", "scales"], mode=mode), {"x": X}, 9, constants={"scales": F(scales)}
        )
    else:
        model = graph(node("Upsample", ["x"], mode=mode, scales=F(scales)), {"x": X}, opset)
    assert_same(model, {"x": X}, reference=False, tolerance=1e-6 if mode == "linear" else 0)


@pytest.mark.parametrize("scales", [[1, 1, 2, 1.5], [1, 1, 0.5, 2]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_the_first_resize_has_its_coordinates_stated(mode, scales):
    constants = {"scales": F(scales)}
    model = graph(node("Resize", ["x", "scales"], mode=mode), {"x": X}, 10, constants=constants)
    assert_same(model, {"x": X}, reference=False, tolerance=1e-6 if mode == "linear" else 0)


@pytest.mark.parametrize(
    ("constant", "why"), [(True, "it shrinks by a part"), (False, "scales are computed")]
)
def test_a_nearest_pixel_between_two_is_refused(constant, why):
    scales = F([1, 1, 0.7, 1])
    feeds = {"x": X} if constant else {"x": X, "scales": scales}
    constants = {"scales": scales} if constant else {}
    model = graph(node("Resize", ["x", "scales"]), feeds, 10, constants=constants)
    with pytest.raises(UnconvertibleError, match=rf"Resize .*opset 10 to 11: .*{why}"):
        convert(model, 12, inferred(model))
