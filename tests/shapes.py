"""Shapes of networks that several tests share."""

from train_host.network import Shape

STUDENT = Shape("separable", channels=20, hidden=16, layers=1, attention="flat")
"""A small streaming network."""
PRUNED = Shape("full", 6, 20, 1, "deep", attention_width=5, inputs=tuple(range(1, 90, 3)))
"""What structured pruning leaves of a full one."""
