"""From a trained network to the files that the device and other runtimes load."""

import device  # noqa: F401  turns off ONNX Runtime's reports before it is imported
