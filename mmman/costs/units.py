"""Bytes as people write and read them."""

import argparse
import re

UNITS = {'MB': 10**6, 'GB': 10**9, 'MiB': 2**20, 'GiB': 2**30}


def parse_bytes(text: str) -> int:
    """Read bytes from a text such as ``'8GB'`` (10^9), ``'7.5GiB'`` (2^30) or ``'900MB'``.

    Raises:
        argparse.ArgumentTypeError: If it is no such text.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)', text)
    if not match:
        raise argparse.ArgumentTypeError(f'expected a number and one of {", ".join(UNITS)}, as in 8GB, got {text!r}')
    return round(float(match[1]) * UNITS[match[2]])


def megabytes(count: int) -> str:
    """Write bytes as a whole number of MB, 10^6 bytes."""
    return f'{count / 1e6:.0f}'
