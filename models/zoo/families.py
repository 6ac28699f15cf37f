"""Which architectures have so much in common that they are left out, and resampled, together."""

from __future__ import annotations


def family(row: dict[str, str]) -> str:
    """Of a network; architectures of one family differ in depth only."""
    name, *norm = row["architecture"].split("_")
    depthless = name.rstrip("0123456789")
    return "_".join([depthless, *norm]) if norm != ["b0"] else name
