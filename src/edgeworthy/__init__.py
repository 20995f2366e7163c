"""edgeworthy: a trained PyTorch image classifier as one ONNX file that is proven to predict the same."""
