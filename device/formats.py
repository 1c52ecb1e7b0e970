"""Sample formats by their ALSA names."""

FORMATS = {
    "U8": 1,
    "S16_LE": 2,
    "S24_3LE": 3,
    "S32_LE": 4,
    "FLOAT_LE": 4,
}
"""Bytes of one sample, by format."""
