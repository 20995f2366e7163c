"""A fast slice of docs/coverage.md: a small model of each family that takes seconds, all the way."""

import pytest
from benchmarks.coverage import export_one
from benchmarks.small_configs import OVERRIDES

NOT_PICTURES = {"imagegpt": "colour tokens", "dinat": "natten"}
SMALL = {
    "timm": (
        "cs3darknet_focus_s",
        "cspnext_tiny",
        "efficientvit_b0",
        "ese_vovnet19b_slim_dw",
        "fasternet_t0",
        "ghostnet_050",
        "inception_next_atto",
        "iformer_t",
        "lcnetv2_small",
        "mobilenetv3_small_050",
        "regnetx_002",
        "repghostnet_050",
        "starnet_s050",
        "test_byobnet",
        "test_coatnet",
        "test_convnext",
        "test_efficientnet",
        "test_mambaout",
        "test_nfnet",
        "test_resnet",
        "test_vit",
        "test_vit_relpos",
    ),
    "torchvision": ("mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"),
    "transformers": tuple(sorted(OVERRIDES.keys() - NOT_PICTURES.keys())),
}


@pytest.mark.parametrize(
    ("library", "name"), [(library, name) for library, names in SMALL.items() for name in names]
)
def test_a_small_model_of_the_family_is_delivered(library, name):
    found = export_one(library, name, 16, "auto")
    assert found["outcome"] == "same", found.get("reason")


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_not_delivered_says_why(name):
    found = export_one("transformers", name, 16, "auto")
    assert found["outcome"] == "refused"
    assert NOT_PICTURES[name] in found["reason"]
