"""From a model to a service on a Raspberry Pi."""
