"""Label-free test-error prediction while you train; frameworks are imported only by the modules named after them."""

from ._command import RelstabError
from .client import Client
from .daemon import Daemon, start
from .exporter import Exporter
from .files import exports
from .measure import check, measure, perturb
from .monitor import Monitor
from .native import export_script
from .records import Check, CheckReport, Estimate, Finding, Measurement, Perturbed, Prediction

__all__ = [
    "Check",
    "CheckReport",
    "Client",
    "Daemon",
    "Estimate",
    "Exporter",
    "Finding",
    "Measurement",
    "Monitor",
    "Perturbed",
    "Prediction",
    "RelstabError",
    "check",
    "export_script",
    "measure",
    "perturb",
    "start",
]


def _torch(model: object, images: object) -> bytes:
    from .torch import Exporter

    return Exporter(images).snapshot(model)()  # type: ignore[arg-type]


exports["torch.nn.modules.module.Module"] = _torch
