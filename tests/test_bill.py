"""The bill taken apart: put together it is the whole, and it moves as the whole model does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import catalog
from cpi_model.scenario import Scenario
from cpi_model.studies import bill
from cpi_model.studies.answer import COMPONENTS, answer
from cpi_model.units import HOUR, MONTH

CASCADE = Scenario(
    model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, cascade_model="llama-3.2-1b",
    answer_hit_share=0.2,
)  # fmt: skip
SCENARIOS = {
    "language": Scenario(),
    "encoder": Scenario(model="bert-large", engine="tensorrt", accelerator="l4", input_tokens=128),
    "trees": Scenario(
        model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4"
    ),
    "student": Scenario(student="ratio", training_requests=1e8),
    "cascade": CASCADE,
    "two pools": Scenario(batching="disaggregated"),
    "follows": Scenario(scaling="follow", requests_per_s=100.0),
    "on call": Scenario(on_call_usd_per_month=5000.0, nonproduction_share=0.5),
}


def bill_of(scenario: Scenario) -> bill.Bill:
    found = bill.of(answer(scenario, catalog()))
    assert found is not None
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_parts_sum_to_the_components_of_a_month(name: str) -> None:
    result = answer(SCENARIOS[name], catalog())
    found = bill.of(result)
    assert found is not None and result.estimate is not None
    successes = SCENARIOS[name].requests_per_s * SCENARIOS[name].success_share * MONTH
    for component, usd in found.month().items():
        whole = float(getattr(result.estimate, f"{component}_cost")) * successes
        assert usd == pytest.approx(whole, rel=1e-9, abs=1e-9)
    assert sum(found.month().values()) == pytest.approx(found.total_usd, rel=1e-9)


def test_it_moves_as_the_whole_model_with_prices_and_volume() -> None:
    """Second method: the scenario itself with other prices and as many requests again."""
    fixed = Scenario(scaling="fixed", fixed_replicas=4, requests_per_s=5.0)
    found = bill_of(fixed)
    (one,) = found.deployments
    paid = fixed.model_copy(update={"device_price_usd_per_hour": 3.5})
    (dear,) = bill_of(paid).deployments
    moved = found.total_usd + one.instances * (dear.usd_per_hour - one.usd_per_hour) * (
        MONTH / HOUR
    ) * sum(one.rent_share.values())
    assert moved == pytest.approx(bill_of(paid).total_usd, rel=1e-9)

    busier = bill_of(fixed.model_copy(update={"requests_per_s": 10.0}))
    requests = 5.0 * MONTH * sum(found.usd_per_request.values())
    assert found.total_usd + requests == pytest.approx(busier.total_usd, rel=1e-9)

    wider = bill_of(fixed.model_copy(update={"fixed_replicas": 6}))
    each = one.usd_per_hour * MONTH / HOUR * sum(one.rent_share.values()) + sum(
        one.usd_per_instance_month.values()
    )
    assert found.total_usd + 2 * each == pytest.approx(wider.total_usd, rel=1e-9)


def test_known_prices_are_found_again() -> None:
    """What a part moves with is what the scenario says of it."""
    found = bill_of(Scenario(on_call_usd_per_month=5000.0, monitoring_usd_per_instance_month=17.0))
    (one,) = found.deployments
    assert one.usd_per_instance_month["orchestration"] == pytest.approx(17.0)
    assert found.fixed_usd["orchestration"] == pytest.approx(5000.0 + 0.1 * 730)
    assert found.fixed_usd["network"] == pytest.approx(0.0225 * 730)
    assert sum(one.rent_share.values()) == pytest.approx(1.05)


def test_both_models_of_a_cascade_have_a_line() -> None:
    large, small = bill_of(CASCADE).deployments
    assert "70B" in large.model and "1B" in small.model
    assert small.usd_per_hour < large.usd_per_hour


def test_load_at_the_peak_is_below_what_replicas_serve() -> None:
    """Replicas are for the peak at the target utilisation, rounded up."""
    for scenario in (Scenario(), Scenario(requests_per_s=1000.0)):
        (one,) = bill_of(scenario).deployments
        assert 0 < one.load_at_peak <= scenario.target_utilisation * (1 + 1e-9)


def test_what_cannot_work_has_no_bill() -> None:
    assert bill.of(answer(Scenario(model="llama-3.1-405b"), catalog())) is None


@settings(max_examples=20)
@given(st.floats(0.01, 1000.0), st.floats(0.5, 1.0), st.floats(0.0, 100.0))
def test_no_part_is_negative(requests: float, success: float, on_call: float) -> None:
    found = bill_of(
        Scenario(requests_per_s=requests, success_share=success, on_call_usd_per_month=on_call)
    )
    for parts in (found.usd_per_request, found.fixed_usd, found.deployments[0].rent_share):
        assert all(parts[name] >= 0 for name in COMPONENTS)
