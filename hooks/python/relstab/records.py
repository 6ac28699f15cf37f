"""What the command reports, typed; `raw` keeps everything it said."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy
    from _typeshed import DataclassInstance
    from numpy.typing import NDArray

Json = dict[str, Any]
Kind = TypeVar("Kind", bound="DataclassInstance")


def _read(kind: type[Kind], record: Json) -> Kind:
    """Of a record what is known here: a newer command may say more."""
    return kind(**{known.name: record[known.name] for known in fields(kind)})


@dataclass(frozen=True)
class Estimate:
    """A unitless value with its interval."""

    value: float
    low: float
    high: float
    level: float

    @classmethod
    def of(cls, record: Json | None) -> Estimate | None:
        return _read(cls, record) if record else None


@dataclass(frozen=True)
class Prediction:
    """A predicted test error, a fraction; `low` and `high` are None where the law's spread is unknown."""

    error: float
    low: float | None
    high: float | None
    level: float
    law: str
    warnings: list[str]

    @classmethod
    def of(cls, record: Json | None) -> Prediction | None:
        return _read(cls, record | {"law": record["law"]["name"]}) if record else None


@dataclass(frozen=True)
class Finding:
    """What is `wrong`, in `doubt` or worth a `note` about a measurement; `help` says what to do, or nothing."""

    code: str
    severity: str
    text: str
    help: str


@dataclass(frozen=True)
class Measurement:
    """One network, measured: R_f = D_f / G_f (arXiv:2105.02468); `r_f` is None where it is undefined, `invariance` (EI under
    deformation) where the network is no classifier."""

    path: str
    r_f: Estimate | None
    d_f: Estimate | None
    g_f: Estimate | None
    invariance: Estimate | None
    prediction: Prediction | None
    probe_error: float | None
    step: int | None
    epoch: float | None
    val_error: float | None
    warnings: list[str]
    findings: list[Finding]
    raw: Json = field(repr=False)

    @property
    def scalars(self) -> dict[str, float]:
        """Numbers by name, for any logger: those of docs/tensorboard.md, and 1 for each finding, `relstab/finding/CODE`."""
        estimates = {"r_f": self.r_f, "d_f": self.d_f, "g_f": self.g_f, "invariance": self.invariance}
        numbers: dict[str, float | None] = {name: estimate.value for name, estimate in estimates.items() if estimate}
        if self.r_f:
            numbers |= {"r_f_low": self.r_f.low, "r_f_high": self.r_f.high}
        if predicted := self.prediction:
            numbers |= {"predicted_error": predicted.error}
            numbers |= {"predicted_error_low": predicted.low, "predicted_error_high": predicted.high}
        numbers |= {"val_error": self.val_error, "probe_error": self.probe_error}
        numbers |= {f"finding/{finding.code}": 1.0 for finding in self.findings}
        return {f"relstab/{name}": number for name, number in numbers.items() if number is not None}

    @classmethod
    def of(cls, record: Json) -> Measurement:
        metadata = record["metadata"]
        return cls(
            path=record["model"]["path"],
            r_f=Estimate.of(record["r_f"]),
            d_f=Estimate.of(record.get("d_f")),
            g_f=Estimate.of(record.get("g_f")),
            invariance=Estimate.of(((record.get("scores") or {}).get("invariance") or {}).get("deformed")),
            prediction=Prediction.of(record["prediction"]),
            probe_error=record.get("probe_error"),
            step=metadata.get("step"),
            epoch=metadata.get("epoch"),
            val_error=metadata.get("val_error"),
            warnings=record["warnings"],
            findings=[_read(Finding, finding) for finding in record.get("findings", [])],
            raw=record,
        )


@dataclass(frozen=True)
class Check:
    """A quantity held to its limit, `max` or `min`: `holds`, `inconclusive` or `falls_short`."""

    quantity: str
    max: float | None
    min: float | None
    value: float
    low: float | None
    high: float | None
    verdict: str

    @classmethod
    def of(cls, record: Json) -> Check:
        return _read(cls, {"max": None, "min": None} | record)


@dataclass(frozen=True)
class CheckReport:
    """A network held to limits; `verdict` is the worst of its checks, `falls_short` where a finding says that the measurement
    is wrong, None with an `error` where none could be told."""

    verdict: str | None
    checks: list[Check]
    error: str | None
    measurement: Measurement | None

    def __bool__(self) -> bool:
        """Whether nothing falls short and everything could be told."""
        return self.error is None and self.verdict != "falls_short"

    @classmethod
    def of(cls, record: Json) -> CheckReport:
        measurement = record["measurement"]
        return cls(
            verdict=record["verdict"],
            checks=[Check.of(check) for check in record["checks"]],
            error=record.get("error"),
            measurement=Measurement.of(measurement) if measurement else None,
        )


@dataclass(frozen=True)
class Perturbed:
    """What a measurement shows a network, normalised: `images` [image, channel, y, x], `deformed` and `noisy`
    [image, draw, channel, y, x]; `index` says where each image stands among those given."""

    images: NDArray[numpy.float32]
    deformed: NDArray[numpy.float32]
    noisy: NDArray[numpy.float32]
    index: NDArray[numpy.uint64]
