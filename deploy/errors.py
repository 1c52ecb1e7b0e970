"""Errors of packaging and deploying."""

from device.errors import KwsPiError


class DeployError(KwsPiError):
    """The package cannot be built, or the Raspberry Pi cannot take it."""
