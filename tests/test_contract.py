"""The contract's words, written and read back; scales are told apart or asked for."""

import json

import pytest

from edgeworthy.contract import (
    DEFAULT_IR_VERSION,
    DEFAULT_OPSET,
    Contract,
    Normalization,
    layout_of,
    picture_size,
    read_output_name,
)
from edgeworthy.errors import ClassNamesError, OptionError
from edgeworthy.labels import ClassNames

UNIT = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PIXELS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@pytest.mark.parametrize("values", [UNIT, PIXELS])
def test_both_scales_give_the_same(values):
    normalization = Normalization.guess_scale(*values)
    assert normalization.mean == pytest.approx(PIXELS[0])
    assert normalization.std == pytest.approx(PIXELS[1])


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0, 0, 0), (1, 1, 1)), ((0.5,), (1.0,)), ((-0.1,), (0.5,)), ((1.5,), (0.5,)), ((0.5,), (1.5,))],
)
def test_a_scale_that_the_numbers_leave_open_is_asked_for(mean, std):
    with pytest.raises(OptionError, match="--scale 1 or --scale 255"):
        Normalization.guess_scale(mean, std)
    assert Normalization.guess_scale(mean, std, 255).mean == pytest.approx(mean)
    assert Normalization.guess_scale(mean, std, 1).std == pytest.approx([255 * value for value in std])


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((1, 2), (1,), "2 means and 1 stds"),
        ((), (), "0 means"),
        ((1,), (0,), "above zero"),
        ((1,), (-3,), "above zero"),
        ((float("nan"),), (3,), "not finite"),
        ((1,), (float("inf"),), "above zero and finite"),
    ],
)
def test_values_that_cannot_normalise_are_refused(mean, std, message):
    with pytest.raises(OptionError, match=message):
        Normalization(mean=mean, std=std)


def test_the_doc_string_is_what_the_guide_carves():
    text = Normalization.from_unit(*UNIT).to_doc_string()
    assert json.loads(text) == {"means": [123.675, 116.28, 103.53], "vars": [58.395, 57.12, 57.375]}
    assert Normalization.from_doc_string(text).to_doc_string() == text
    assert Normalization.identity(3).to_doc_string() == '{"means": [0, 0, 0], "vars": [1, 1, 1]}'
    assert Normalization.from_unit(*UNIT).upload_form().startswith("means 123.675, 116.28, 103.53")


def test_a_vendor_samples_further_keys_do_no_harm():
    text = '{"means": [0, 0, 0], "vars": [1, 1, 1], "channels": 3, "height": 8, "width": 8, "order": "RGB"}'
    assert Normalization.from_doc_string(text).is_identity


@pytest.mark.parametrize(
    "text",
    ["", "cat", "[]", "{}", '{"means": [1]}', '{"means": 1, "vars": 2}', '{"means": ["1"], "vars": [1]}',
     '{"means": [true], "vars": [1]}', "[" * 100_000],
)  # fmt: skip
def test_a_doc_string_that_is_none_says_so(text):
    with pytest.raises(OptionError):
        Normalization.from_doc_string(text)


def test_the_default_is_what_every_runtime_of_the_platform_loads():
    assert (DEFAULT_OPSET, DEFAULT_IR_VERSION) == (16, 8)


def test_shapes_have_height_before_width():
    names = ClassNames(("cat", "dog"))
    contract = Contract(class_names=names, channels=3, height_px=12, width_px=16, normalization=None)
    assert contract.input_shape == (1, 3, 12, 16)
    nhwc = Contract(
        class_names=names, channels=1, height_px=12, width_px=16, normalization=None, layout="nhwc"
    )
    assert nhwc.input_shape == (1, 12, 16, 1)
    assert contract.output_name == "scores-0:cat;1:dog"


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        ((1, 3, 12, 16), "nchw", (3, 12, 16)),
        ((1, 12, 16, 3), "nhwc", (3, 12, 16)),
        ((1, 3, 16, 3), "nchw", (3, 16, 3)),
        ((None, 1, None, 16), "nchw", (1, None, 16)),
        ((1, 4, 12, 16), None, (4, 12, 16)),
    ],
)
def test_layouts(shape, layout, size):
    assert layout_of(shape) == layout
    assert picture_size(shape) == size


def test_three_axes_have_no_layout():
    assert layout_of((1, 3, 12)) is None


@pytest.mark.parametrize("name", ["output", "scores", "scores-", "scores-cat", "scores-0", "scores-x:cat"])
def test_other_output_names_are_refused(name):
    with pytest.raises(ClassNamesError):
        read_output_name(name)


def test_a_scale_that_contradicts_the_values_is_refused():
    with pytest.raises(OptionError, match=r"cannot be meant for pixels 0\.\.1"):
        Normalization.guess_scale(*PIXELS, 1)
    with pytest.raises(OptionError, match="above zero"):
        Normalization.guess_scale((0.5,), (0,))


@pytest.mark.parametrize(
    ("mean", "std"),
    [((123.7, 116.3, 103.5), (0.229, 0.224, 0.225)), ((0.485, 0.456, 0.406), (58.4, 57.1, 57.4))],
)
def test_a_mean_of_one_scale_with_a_std_of_the_other_is_asked_about(mean, std):
    with pytest.raises(OptionError, match=r"may be meant for pixels 0\.\.1 or 0\.\.255"):
        Normalization.guess_scale(mean, std)
    assert Normalization.guess_scale(mean, std, 255).std == std


@pytest.mark.parametrize(("mean", "std"), [((104, 117, 123), (1, 1, 1)), ((0, 0, 0), (255, 255, 255))])
def test_values_of_255_levels_may_leave_one_of_them_alone(mean, std):
    assert Normalization.guess_scale(mean, std).std == std
