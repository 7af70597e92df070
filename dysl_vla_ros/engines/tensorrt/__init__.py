"""TensorRT plans on the CUDA driver, without torch."""
