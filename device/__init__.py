"""What runs on the Raspberry Pi: microphone, front end, engine, detector, indicator.

Nothing here imports torch or the host packages, so that the device needs
only what Debian packages.
"""

import os

# The registry's builds of ONNX Runtime report their use over the network, and keep an identifier
# of the machine in the home folder, unless told not to before they are imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
