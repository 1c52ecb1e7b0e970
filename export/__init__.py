"""From a trained network to the files that the device and other runtimes load."""
