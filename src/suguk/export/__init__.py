"""A trained model as one `.onnx` file that decodes: see `export.write.export`."""
