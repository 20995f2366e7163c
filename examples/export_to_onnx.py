"""What the platform's guide does with a script to edit, in five lines."""

import timm

import edgeworthy

model = timm.create_model("resnet18.a1_in1k", pretrained=True)
artefact = edgeworthy.export(model, "resnet18.onnx", classes="imagenet-1k")
print(artefact.path, artefact.parity.verdict)
