"""Operators without a counterpart at the opset before the one that brought or changed them."""

from __future__ import annotations

from edgeworthy.opset.registry import absent

_NEW = "opset {} brought the operator, and nothing before it does the same"

BROUGHT = {
    15: ("Bernoulli", "Optional", "OptionalGetElement", "OptionalHasElement"),
    16: ("GridSample",),
    17: ("BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT", "SequenceMap"),
    18: ("BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad"),
    19: ("DeformConv",),
    20: ("AffineGrid", "ImageDecoder", "RegexFullMatch", "StringConcat", "StringSplit"),
    23: ("RotaryEmbedding",),
    24: ("TensorScatter",),
    26: ("BitCast", "CumProd"),
    27: ("CausalConvWithState", "LinearAttention"),
}

for _opset, _operators in BROUGHT.items():
    absent("lower", _operators, _opset, _NEW.format(_opset))

absent("lower", ("OptionalGetElement", "OptionalHasElement"), 18, "opset 18 let it take what is not optional")
absent("raise", ("Scan",), 9, "opset 9 took the batch dimension from it")
