"""One thread for torch and numpy: the networks are small, and threads that wait for each
other make a busy machine many times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
