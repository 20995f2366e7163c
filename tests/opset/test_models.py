"""Real architectures, untrained, as torch exports them: valid and the same at every opset."""

import logging
import warnings

import numpy as np
import onnx
import pytest

from edgeworthy.opset import convert, facts_of
from edgeworthy.sources.torchvision_shim import mend_torchvision
from tests.opset.bench import TARGETS, on_runtime

BY_DYNAMO = ["vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"]
BY_TORCHSCRIPT = [
    ("resnet18", 12),
    ("efficientnet_b0", 13),
    ("vit_tiny_patch16_224", 14),
    ("convnext_atto", 17),
    ("mobilenetv3_small_050", 17),
]
SIZE = 64
SHORTENED = {
    "vit_tiny_patch16_224": {"img_size": SIZE, "depth": 3},
    "convnext_atto": {"depths": (1, 1, 2, 1)},
}


def module(name):
    """The architecture with random weights, none of them all zero, and what it takes."""
    import torch

    mend_torchvision()
    import timm

    torch.manual_seed(0)
    made = timm.create_model(name, pretrained=False, num_classes=10, **SHORTENED.get(name, {})).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return made, torch.randn(1, 3, SIZE, SIZE)


def exported(made, image, path, **options):
    """What torch makes of it."""
    import torch

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(made, (image,), path, verbose=False, **options)
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(path)


def assert_same_everywhere(model, image):
    """At every target the model is valid, and its scores are the same to a hundred-thousandth."""
    known = facts_of(onnx.shape_inference.infer_shapes(model, data_prop=True))
    feeds = {model.graph.input[0].name: image.numpy()}
    expected = on_runtime(model, feeds)[0]
    assert np.ptp(expected) > 1e-3
    for target in TARGETS:
        result = convert(model, target, known)
        onnx.checker.check_model(result, full_check=True)
        found = on_runtime(result, feeds)[0]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), target


@pytest.mark.parametrize("name", BY_DYNAMO)
def test_what_the_new_exporter_makes_is_lowered(name, tmp_path):
    pytest.importorskip("onnxscript")
    made, image = module(name)
    model = exported(made, image, tmp_path / "m.onnx", dynamo=True, opset_version=18, external_data=False)
    assert {entry.version for entry in model.opset_import if not entry.domain} == {18}
    assert_same_everywhere(model, image)


@pytest.mark.parametrize(("name", "opset"), BY_TORCHSCRIPT)
def test_what_the_old_exporter_makes_is_converted_both_ways(name, opset, tmp_path):
    made, image = module(name)
    model = exported(made, image, tmp_path / "m.onnx", dynamo=False, opset_version=opset)
    assert_same_everywhere(model, image)
