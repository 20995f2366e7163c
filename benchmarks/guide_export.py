"""The platform guide's method as a program: timm, TorchScript export at opset 12, doc_string, onnxsim.

The yardstick of export_vs_guide.py. The guide's script taken literally fails with torch 2.9 and later,
whose exporter writes opset 18 by default: `dynamo=False` is the one change.
"""

import json
import sys
import warnings

from edgeworthy.sources.torchvision_shim import mend_torchvision

mend_torchvision()

import onnx  # noqa: E402
import onnxsim  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from timm.data import ImageNetInfo, resolve_data_config  # noqa: E402

warnings.simplefilter("ignore")


class WithSoftmax(torch.nn.Module):
    """The model with the softmax behind it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.model(image), dim=1)


def main(name: str, target: str) -> None:
    model = timm.create_model(name, pretrained=True).eval()
    config = resolve_data_config({}, model=model)
    info = ImageNetInfo()
    names = [info.index_to_description(i).replace(";", ",").replace(":", "-") for i in range(1000)]
    output = "scores-" + ";".join(f"{i}:{text}" for i, text in enumerate(names))
    torch.onnx.export(
        WithSoftmax(model),
        (torch.randn(1, *config["input_size"]),),
        target,
        dynamo=False,
        opset_version=12,
        input_names=["image-"],
        output_names=[output],
    )
    graph = onnx.load(target)
    scale = {"means": config["mean"], "vars": config["std"]}
    graph.graph.doc_string = json.dumps({key: [255 * v for v in values] for key, values in scale.items()})
    simplified, agrees = onnxsim.simplify(graph, check_n=10)
    if not agrees:
        sys.exit("onnxsim: the simplified graph differs")
    onnx.save(simplified, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
