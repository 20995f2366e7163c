"""A fast slice of docs/coverage.md: a small model of each family that takes 3 s or less, all the way."""

import pytest
from benchmarks.coverage import export_one
from benchmarks.small_configs import OVERRIDES

SLOWER = {"cvt", "levit", "mobilenet_v2", "mobilevit", "perceiver", "pvt_v2"}
SMALL = {
    "timm": (
        "mobilenetv3_small_050",
        "starnet_s050",
        "test_byobnet",
        "test_coatnet",
        "test_convnext",
        "test_efficientnet",
        "test_mambaout",
        "test_nfnet",
        "test_resnet",
        "test_vit",
    ),
    "torchvision": ("mobilenet_v3_small",),
    "transformers": tuple(sorted(OVERRIDES.keys() - SLOWER)),
}


@pytest.mark.parametrize(
    ("library", "name"), [(library, name) for library, names in SMALL.items() for name in names]
)
def test_a_small_model_of_the_family_is_delivered(library, name):
    found = export_one(library, name, 16, "auto")
    assert found["outcome"] == "same", found.get("reason")
