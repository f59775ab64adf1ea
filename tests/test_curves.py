"""Measured curves over batch size and concurrency: found, and followed by the model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from cpi_model.__main__ import app
from cpi_model.catalog import catalog, data_folder
from cpi_model.studies import measurements
from cpi_model.studies.curves import FEWEST_POINTS, MeasuredCurve, errors, measured_curves

FACTS = catalog()
CURVES = measured_curves(measurements.rows(), FACTS)


def curve(measured: list[float], predicted: list[float]) -> MeasuredCurve:
    sizes = 2.0 ** np.arange(len(measured))
    return MeasuredCurve(
        "llm", "closed", "m", "h", "e", sizes, np.array(measured), np.array(predicted)
    )


def test_the_shipped_runs_hold_curves_of_several_kinds() -> None:
    assert len(CURVES) >= 15
    assert {each.model_class for each in CURVES} >= {"llm", "vision"}
    assert {each.mode for each in CURVES} == {"closed", "served", "static"}
    for each in CURVES:
        assert len(each.sizes) >= FEWEST_POINTS
        assert np.all(np.diff(each.sizes) > 0)


def test_best_sizes_and_shapes_are_those_that_were_measured() -> None:
    """The goal of the project: within a factor of two for 85 %, and 15 % in the middle."""
    whole = errors(CURVES)[-1]
    assert whole.model_class == "all" and whole.curves == len(CURVES)
    assert whole.best_found >= 0.85
    assert whole.shape_error <= 0.15


def test_a_faster_machine_has_the_same_shape() -> None:
    for each in CURVES[:3]:
        faster = replace(each, measured=3.0 * each.measured)
        assert faster.shape_error == pytest.approx(each.shape_error)
        assert faster.best == each.best


def test_errors_of_curves_drawn_by_hand() -> None:
    same = curve([1, 2, 3, 4, 4.5], [1, 2, 3, 4, 4.5])
    assert same.best_found and same.shape_error == 0 and same.lost == 0
    # The most at 4 of 16, predicted at 16, where a tenth of the throughput is gone.
    early = curve([2, 8, 10, 9.5, 9], [2, 8, 9, 9.5, 10])
    assert early.best == (4.0, 16.0)
    assert not early.best_found
    assert early.lost == pytest.approx(0.1)
    assert early.shape_error == pytest.approx(0.0)
    both = errors([same, early])[-1]
    assert both.best_found == 0.5 and both.lost == pytest.approx(0.05)
    assert errors([]) == []


def test_runs_on_other_software_or_of_other_lengths_are_no_curve() -> None:
    rows = measurements.rows()
    apart = [row | {"source": str(number)} for number, row in enumerate(rows)]
    assert measured_curves(apart, FACTS) == []


def test_the_command_prints_them() -> None:
    file = str(data_folder() / measurements.FILE)
    done = CliRunner().invoke(app, ["validate", file, "--curves", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)["curves"]
    assert rows[-1]["curves"] == len(CURVES)
    shown = CliRunner().invoke(app, ["validate", file, "--curves"])
    assert shown.exit_code == 0 and "best size" in shown.output
