"""What runs on the laptop: corpora, training, compression, figures."""

import device  # noqa: F401  turns off ONNX Runtime's reports before it is imported
