"""Whole measured curves of throughput over batch size or concurrency: is their shape predicted?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.studies.runs import Run, mode, read_run
from cpi_model.studies.validate import figures, predict
from cpi_model.units import Array

FEWEST_POINTS = 5
"""Sizes that make a curve."""
NEAR = 2.0
"""Factor within which a predicted best size counts as found."""
SAME_RUN = (
    "source", "measured_on", "model", "hardware", "accelerators", "engine", "engine_version",
    "weight_precision", "activation_precision", "kv_precision", "tensor_parallel",
    "pipeline_parallel", "data_parallel", "expert_parallel", "moe_tensor_parallel", "scenario",
    "input_tokens", "output_tokens",
)  # fmt: skip
"""Columns in which the runs of one curve agree."""
SIZES = {"closed": "concurrency", "served": "concurrency", "static": "batch_size"}
"""What grows along a curve, by the mode of its runs."""


@dataclass(frozen=True)
class MeasuredCurve:
    """Runs that differ in the number of requests alone, and what was predicted of them."""

    model_class: str
    mode: str
    model: str
    hardware: str
    engine: str
    sizes: Array
    """Requests in flight, or the batch, rising. [1]"""
    measured: Array
    """Throughput. [1/s]"""
    predicted: Array

    @property
    def best(self) -> tuple[float, float]:
        """Size of the most throughput: measured, predicted."""
        return (
            float(self.sizes[np.argmax(self.measured)]),
            float(self.sizes[np.argmax(self.predicted)]),
        )

    @property
    def best_found(self) -> bool:
        """Whether the predicted best size is near the measured one."""
        one, other = self.best
        return max(one, other) <= NEAR * min(one, other)

    @property
    def lost(self) -> float:
        """Share of the measured best throughput that the predicted best size misses."""
        chosen = float(self.measured[np.argmax(self.predicted)])
        return 1.0 - chosen / float(self.measured.max())

    @property
    def shape_error(self) -> float:
        """Median |predicted/measured - 1| along the curve, each as a share of its maximum."""
        measured = self.measured / self.measured.max()
        predicted = self.predicted / self.predicted.max()
        return float(np.median(np.abs(predicted / measured - 1.0)))


@dataclass(frozen=True)
class CurveErrors:
    """How well the curves of one kind are predicted."""

    model_class: str
    """``all`` for all of them."""
    mode: str
    curves: int
    points: int
    best_found: float
    """Share of the curves whose best size is predicted within a factor of 2."""
    lost: float
    """Mean share of the best throughput that the predicted best size misses."""
    shape_error: float
    """Median over the curves."""
    shape_error_p90: float
    """90th percentile over the curves."""


def measured_curves(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> list[MeasuredCurve]:
    """Curves of at least five sizes among measured runs; repeated sizes count by their median."""
    fitted = fitted or coefficients()
    table = [
        (row, run)
        for row in rows
        if isinstance(run := read_run(row, facts), Run) and mode(run) in SIZES
    ]
    groups: dict[tuple[object, ...], list[tuple[float, float, float, Run]]] = {}
    predictions = predict([run for _, run in table], fitted)
    for (row, run), prediction in zip(table, predictions, strict=True):
        measured, predicted = figures(run, prediction)["throughput"]
        size = _size(row, run)
        if size and measured > 0 and predicted > 0:
            key = (*(row.get(name) or "" for name in SAME_RUN), run.scenario.work_scale)
            groups.setdefault(key, []).append((size, measured, predicted, run))
    return [
        _curve(points)
        for points in groups.values()
        if len({size for size, *_ in points}) >= FEWEST_POINTS
    ]


def _size(row: Mapping[str, str], run: Run) -> float:
    """Requests together; 0 where a run does not state them."""
    text = (row.get(SIZES[mode(run)]) or "").strip()
    return float(text) if text else 0.0


def _curve(points: list[tuple[float, float, float, Run]]) -> MeasuredCurve:
    sizes = np.unique([size for size, *_ in points])

    def middle(place: int) -> Array:
        return np.array(
            [np.median([point[place] for point in points if point[0] == size]) for size in sizes]
        )

    run = points[0][3]
    choice = run.choice
    return MeasuredCurve(
        choice.model.model_class, mode(run), choice.model.id, choice.accelerator.id,
        choice.engine.id, sizes, middle(1), middle(2),
    )  # fmt: skip


def errors(curves: Iterable[MeasuredCurve]) -> list[CurveErrors]:
    """Errors by class and mode, and of all curves together at the end; none without a curve."""
    kinds: dict[tuple[str, str], list[MeasuredCurve]] = {}
    for curve in curves:
        kinds.setdefault((curve.model_class, curve.mode), []).append(curve)
    whole = [curve for found in kinds.values() for curve in found]
    named = [*sorted(kinds.items()), *([(("all", "all"), whole)] if whole else [])]
    return [
        CurveErrors(
            model_class, way, len(found), sum(len(curve.sizes) for curve in found),
            float(np.mean([curve.best_found for curve in found])),
            float(np.mean([curve.lost for curve in found])),
            float(np.median([curve.shape_error for curve in found])),
            float(np.percentile([curve.shape_error for curve in found], 90)),
        )
        for (model_class, way), found in named
    ]  # fmt: skip
