"""What runs on the Raspberry Pi: microphone, front end, engine, detector, indicator.

Nothing here imports torch or the host packages, so that the device needs
only what Debian packages (and ONNX Runtime).
"""

__version__ = "0.1.0"
