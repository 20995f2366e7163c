"""From a torch module to an ONNX graph: wrap, trace, fold, simplify, stamp."""
