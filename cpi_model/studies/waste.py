"""What is paid for nothing: from the cost of full replicas to that of the scenario.

Each kind of waste is a few fields of the scenario that can be switched off. They are switched off
one after another, in a stated order, all states in one call of the model; what a step saves is the
waste of its kind. So the parts sum to the whole difference, and nothing counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cpi_model import links
from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import Choice, ImpossibleChoice, Inputs, capacity, choose, price_paid
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import service, sweep
from cpi_model.studies.answer import known
from cpi_model.studies.service import Service
from cpi_model.units import MONTH, PERCENT, Array

ENDLESS_PEAK = 1e9
"""So high a peak that replicas which are packed without a gap are never rounded to whole ones."""
LEAST = 1e-9
"""Share of the cost below which a kind of waste is none."""
WORKING_HOURS = 50.0
"""Of a week in which somebody uses what is not production; the week has 168."""
WEEK_HOURS = 168.0
BUSY_TARGET = 0.85
"""Utilisation up to which the headroom is proposed to be taken back."""


@dataclass(frozen=True)
class Kind:
    """One kind of waste, and the fields that it comes from."""

    id: str
    title: str
    help: str
    fields: tuple[str, ...]
    off: Mapping[str, Any]
    """The same fields without it."""


ONE_FOR_THE_PEAK: dict[str, Any] = {
    "scaling": "peak", "target_utilisation": 1.0, "min_replicas": 0, "old_min_replicas": 0,
    "old_traffic_share": None, "spare_replicas": 0,
}  # fmt: skip
KINDS = (
    Kind(
        "commitment", "Unused commitment", "Committed hours that nothing runs on.",
        ("unused_commitment_share",), {"unused_commitment_share": 0.0},
    ),
    Kind(
        "spot", "Spot interruptions", "Capacity that stands by for what is taken away.",
        ("spot_overhead_share", "spot_interruptions_per_month"),
        {"spot_overhead_share": 0.0, "spot_interruptions_per_month": None},
    ),
    Kind(
        "packing", "Part-filled instances",
        "Devices of an instance on which no replica runs: an instance is paid whole.",
        ("instance",), {},
    ),
    Kind(
        "nonproduction", "Test and staging", "Capacity outside production.",
        ("nonproduction_share",), {"nonproduction_share": 0.0},
    ),
    Kind(
        "stored", "Stored old versions", "Weights kept in storage that no replica serves.",
        ("stored_versions",), {"stored_versions": 1},
    ),
    Kind(
        "versions", "Older live versions",
        "Replicas that versions but the newest need beside it.",
        ("live_versions", "old_traffic_share", "old_min_replicas"), {"live_versions": 1},
    ),
    Kind(
        "spare", "Spare replicas", "Replicas beyond the need, for the loss of one.",
        ("spare_replicas",), {"spare_replicas": 0},
    ),
    Kind(
        "minimum", "Minimum replicas", "Replicas that run although the traffic needs fewer.",
        ("min_replicas",), {"min_replicas": 0, "old_min_replicas": 0},
    ),
    Kind(
        "fixed", "More than the peak", "A fixed number of replicas, beyond what the peak fills.",
        ("fixed_replicas",), ONE_FOR_THE_PEAK,
    ),
    Kind(
        "headroom", "Headroom", "What a replica could carry and is not planned to.",
        ("target_utilisation",), {"target_utilisation": 1.0},
    ),
    Kind(
        "lag", "Autoscaling lag", "Replicas that come early or go late.",
        ("scaling_lag_share",), {"scaling_lag_share": 0.0},
    ),
    Kind(
        "idle", "Idle outside the peak",
        "Replicas for the peak, in the hours in which the traffic is lower; and the last one, of "
        "which the peak fills a part.",
        ("scaling", "peak_to_mean"), {"scaling": "follow", "scaling_lag_share": 0.0},
    ),
)  # fmt: skip
"""In the order in which they are switched off: first what makes every hour dearer; then what is
bought whole, so that all others are parts of instances; then what serves nobody; last what each
replica of the load brings with it. What several kinds share counts for the first."""
OF_SCALING = {
    "peak": {"fixed", "lag"}, "follow": {"fixed", "idle"},
    "fixed": {"spare", "minimum", "headroom", "lag"},
}  # fmt: skip
"""Kinds that a way of scaling does not have."""


@dataclass(frozen=True)
class Waste:
    """What one kind of waste costs."""

    kind: Kind
    each: float
    """Of an inference, after all kinds before it. [USD]"""
    monthly: float
    """[USD]"""
    alone: float
    """A month, if only this kind is switched off. [USD]"""


@dataclass(frozen=True)
class Finding:
    """One kind of waste with what to do about it."""

    waste: Waste
    evidence: str
    confidence: str
    """certain, high, medium or low."""
    why: str
    """What the confidence rests on."""
    advice: str
    changes: dict[str, Any]
    """Fields of the remedy; empty where none is proposed."""
    saves: float
    """A month, with the remedy and nothing else changed; NaN without a remedy. [USD]"""
    in_time: tuple[float, float]
    """Share of the requests within the limits, before and after; NaN without a remedy."""


@dataclass(frozen=True)
class Bridge:
    """From the cost of full replicas to that of the scenario, kind by kind."""

    scenario: Scenario
    perfect: float
    """Cost of an inference without any waste. [USD]"""
    real: float
    """Cost of an inference, fully loaded. [USD]"""
    per_month: float
    """Successful inferences a month. [1]"""
    parts: tuple[Waste, ...]
    """Kinds that cost something, in the order in which they are switched off."""
    choice: Choice
    estimate: Estimate

    @property
    def share(self) -> float:
        """Part of the cost that is waste."""
        return 1.0 - self.perfect / self.real

    @property
    def monthly(self) -> float:
        """All waste of a month. [USD]"""
        return (self.real - self.perfect) * self.per_month


# Switching off ------------------------------------------------------------------------------------


def kinds(scenario: Scenario) -> list[Kind]:
    """Kinds that a scenario can have, in order."""
    committed = scenario.purchase in ("reserved_1y", "reserved_3y")
    no_part = set(OF_SCALING[scenario.scaling])
    no_part |= {"commitment"} if not committed else set()
    no_part |= {"spot"} if scenario.purchase != "spot" else set()
    return [kind for kind in KINDS if kind.id not in no_part]


def bridge(scenario: Scenario, catalog: Catalog) -> Bridge | None:
    """Every kind of waste of a scenario; None where the scenario cannot work.

    Raises
    ------
    ImpossibleChoice
        If the scenario names what does not exist or cannot go together.
    """
    choice, fitted = choose(scenario, catalog), coefficients()
    whole = service.resolve(scenario, choice, catalog, fitted)
    able = kinds(scenario)
    together = [_without(whole, able[:count], scenario, choice, fitted)
                for count in range(len(able))]  # fmt: skip
    alone = [_without(whole, [kind], scenario, choice, fitted) for kind in able]
    perfect = _without(whole, able, scenario, choice, fitted)
    perfect = service.changed(perfect, peak_to_mean=ENDLESS_PEAK)
    estimate = service.estimate(service.together([*together, *alone, perfect]))
    real = sweep.row(estimate, 0)
    if not real.feasible:
        return None
    costs: Array = np.asarray(estimate.cost_per_inference)
    best = float(costs[-1])
    # Whole prompt-reading replicas of fewer replicas can be more for each: such a step is nothing,
    # and the next is what is left of both.
    levels = np.maximum(np.minimum.accumulate([*costs[: len(able)], best]), best)
    per_month = scenario.requests_per_s * scenario.success_share * MONTH
    return Bridge(
        scenario=scenario, perfect=best, real=float(levels[0]), per_month=per_month,
        parts=tuple(
            Waste(
                kind, float(before - after), float(before - after) * per_month,
                float(levels[0] - without) * per_month,
            )
            for kind, before, after, without in zip(
                able, levels[:-1], levels[1:], costs[len(able) : -1], strict=True
            )
            if before - after > LEAST * levels[0]
        ),
        choice=choice, estimate=real,
    )  # fmt: skip


def _without(
    whole: Service, kinds: Sequence[Kind], scenario: Scenario, choice: Choice, fitted: Coefficients
) -> Service:
    """A service with some kinds of waste switched off."""
    changes = {name: value for kind in kinds for name, value in kind.off.items()}
    changed = scenario.model_copy(update=changes)
    packed = any(kind.id == "packing" for kind in kinds)

    def of(x: Inputs, choice: Choice, alone: Scenario) -> Inputs:
        numbers = replace(x, **capacity(alone), **price_paid(alone, choice, fitted))
        return _packed(numbers) if packed else numbers

    first = None
    if whole.first is not None and whole.first_choice is not None:
        # The small model of a cascade has as many replicas as it needs.
        fixed = {"scaling": "peak"} if changed.scaling == "fixed" else {}
        first = of(whole.first, whole.first_choice, changed.model_copy(update=fixed))
    return replace(whole, model=of(whole.model, choice, changed), first=first)


def _packed(x: Inputs) -> Inputs:
    """As if instances were sold in the size of a replica."""
    size = x.devices_per_replica / x.devices_per_instance
    return replace(
        x, devices_per_instance=x.devices_per_replica, instance_price=x.instance_price * size,
        monitoring_price=x.monitoring_price * size,
    )  # fmt: skip


# Findings -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Advice:
    """What there is to say of a kind of waste, before the remedy is tried."""

    evidence: str
    confidence: str
    why: str
    advice: str
    changes: dict[str, Any]


def findings(found: Bridge, catalog: Catalog) -> list[Finding]:
    """What to do about each kind of waste, the dearest first; every remedy is estimated."""
    ordered = sorted(found.parts, key=lambda part: -part.monthly)
    advised = {part.kind.id: _advice(part.kind.id, found) for part in ordered}
    tried: list[tuple[str, dict[str, Any]]] = [
        (id, each.changes) for id, each in advised.items() if each.changes
    ]
    tried += [("packing", {"instance": id}) for id in _instances(found, catalog)]
    best = _best(found, tried, catalog)
    return [
        Finding(
            part, each.evidence, each.confidence, each.why, each.advice,
            *best.get(part.kind.id, ({}, math.nan, (math.nan, math.nan))),
        )
        for part in ordered
        for each in [advised[part.kind.id]]
    ]  # fmt: skip


_Remedy = tuple[dict[str, Any], float, tuple[float, float]]


def _best(
    found: Bridge, tried: Sequence[tuple[str, dict[str, Any]]], catalog: Catalog
) -> dict[str, _Remedy]:
    """Of each kind the remedy that saves the most; none where nothing works and saves."""
    looked_up: list[tuple[str, dict[str, Any], Service]] = []
    for id, changes in tried:
        changed = found.scenario.model_copy(update=changes)
        try:
            whole = service.resolve(changed, choose(changed, catalog), catalog, coefficients())
        except ImpossibleChoice:
            continue
        looked_up.append((id, changes, whole))
    if not looked_up:
        return {}
    estimate = service.estimate(service.together([whole for _, _, whole in looked_up]))
    before = float(found.estimate.good_share)
    best: dict[str, _Remedy] = {}
    nothing: _Remedy = {}, LEAST * found.real * found.per_month, (math.nan, math.nan)
    for row, (id, changes, _) in enumerate(looked_up):
        each = sweep.row(estimate, row)
        saves = (found.real - float(each.cost_per_inference)) * found.per_month
        if each.feasible and saves > best.get(id, nothing)[1]:
            best[id] = changes, saves, (before, float(each.good_share))
    return best


def _instances(found: Bridge, catalog: Catalog) -> Iterator[str]:
    """Smaller instances of the same cloud with the same chip, if instances are part-filled."""
    now = found.choice.instance
    if now is None or all(part.kind.id != "packing" for part in found.parts):
        return
    for each in catalog.instances_of.get(now.accelerator, ()):
        if each.cloud == now.cloud and each.accelerator_count < now.accelerator_count:
            yield each.id


def _advice(id: str, found: Bridge) -> _Advice:
    """Evidence and remedy of one kind."""
    s, e = found.scenario, found.estimate
    production = f"{_count(float(e.replicas), 'replica')} in production"
    if id == "commitment":
        return _Advice(
            f"{_percent(s.unused_commitment_share)} of the committed hours are paid and not used.",
            "certain", "Paid hours without use need no measurement.",
            "Move other work onto the commitment, or let it run out and commit less.",
            {"unused_commitment_share": 0.0},
        )  # fmt: skip
    if id == "spot":
        return _Advice(
            "Capacity is bought beyond the need, for the time until an instance that was taken "
            "away is replaced.",
            "medium", "How often instances are taken away differs by zone and month.",
            "Start faster, save the state more often, and ask for more kinds of instances.", {},
        )  # fmt: skip
    if id == "nonproduction":
        used = round(s.nonproduction_share * WORKING_HOURS / WEEK_HOURS, 4)
        return _Advice(
            f"Test and staging are {_percent(s.nonproduction_share)} of production, all week long.",
            "medium", f"Somebody uses them {WORKING_HOURS:g} of {WEEK_HOURS:g} hours: assumed.",
            "Switch them off outside working hours.", {"nonproduction_share": used},
        )  # fmt: skip
    if id == "stored":
        kept = s.live_versions + 1
        return _Advice(
            f"{_count(s.stored_versions, 'version')} in storage, {s.live_versions} live.",
            "high", "Storage is paid by size and time.",
            "Keep one to go back to, delete the others.",
            {"stored_versions": kept} if kept < s.stored_versions else {},
        )  # fmt: skip
    if id == "versions":
        share = s.old_traffic_share
        traffic = "" if share is None else f" and answer {_percent(share)} of the requests"
        return _Advice(
            f"{_count(s.live_versions - 1, 'older version')} beside the newest, which keep their "
            f"minimum of replicas{traffic}.",
            "high" if share is not None else "medium",
            "The traffic of older versions is stated." if share is not None
            else "How much traffic older versions still have is not stated.",
            "Move their traffic to the newest version and switch them off.", {"live_versions": 1},
        )  # fmt: skip
    if id == "spare":
        return _Advice(
            f"{_count(s.spare_replicas, 'replica')} beyond the need; {production}.",
            "low", "A spare replica is insurance against the loss of one.",
            "Keep one; where another region can take over, none.",
            {"spare_replicas": 1 if s.spare_replicas > 1 else 0},
        )  # fmt: skip
    if id == "minimum":
        fewer = max(s.min_replicas - 1, 1) if s.scaling == "peak" else 0
        lower = {"min_replicas": fewer if s.min_replicas <= 2 else 1}
        return _Advice(
            f"At least {_count(s.min_replicas, 'replica')} of each live version are kept, and the "
            "traffic needs fewer.",
            "high" if s.scaling == "peak" else "medium",
            "A minimum above the need serves nobody." if s.scaling == "peak"
            else "Without a minimum, the first request after a pause waits for a cold start.",
            "Lower the minimum, or let several models share the replicas.",
            lower if lower["min_replicas"] < s.min_replicas else {},
        )  # fmt: skip
    if id == "fixed":
        return _Advice(
            f"{_count(s.fixed_replicas, 'replica')}, fixed; on average "
            f"{_percent(float(e.utilisation))} busy.",
            "high", "What the peak needs follows from its load and the speed of a replica.",
            "Size for the peak, with headroom.", {"scaling": "peak"},
        )  # fmt: skip
    if id == "headroom":
        target = max(s.target_utilisation, BUSY_TARGET)
        return _Advice(
            f"Replicas are planned to be {_percent(s.target_utilisation)} full at the peak.",
            "low", "Headroom keeps the queue short: the Batching page shows what less of it does.",
            "Plan closer to the limit, after a look at the percentiles under load.",
            {"target_utilisation": target} if target > s.target_utilisation else {},
        )  # fmt: skip
    if id == "lag":
        return _Advice(
            f"{_percent(s.scaling_lag_share)} more replica-hours than the traffic needs.",
            "low", "What is gained depends on the traffic and the autoscaler.",
            "Scale by a schedule, start faster: image and weights close by.",
            {"scaling_lag_share": 0.5 * s.scaling_lag_share},
        )  # fmt: skip
    if id == "idle":
        busy = (
            f"{production}, sized for {s.peak_to_mean:g} times the average traffic; on average "
            f"{_percent(float(e.utilisation))} busy."
        )
        if s.purchase.startswith("reserved"):
            return _Advice(
                busy, "medium", "A commitment is paid at night as well.",
                "Commit less, as the Buying page works out, or fill quiet hours with work that can "
                "wait.", {},
            )  # fmt: skip
        return _Advice(
            busy, "medium",
            f"Autoscaling is assumed to lag by {_percent(s.scaling_lag_share)}; bursts can make it "
            "dearer.",
            "Let replicas follow the traffic, or fill quiet hours with work that can wait.",
            {"scaling": "follow"},
        )  # fmt: skip
    return _Advice(
        "Replicas do not fill their instances, which are paid whole.",
        "high", "Follows from the devices of a replica and of an instance.",
        "Take an instance of another size, or let other services use the free devices.", {},
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{share / PERCENT:.3g} %"


def _count(number: float, what: str) -> str:
    return f"{number:,.3g} {what}" if number == 1 else f"{number:,.3g} {what}s"


# As JSON ------------------------------------------------------------------------------------------


def summary(found: Bridge, catalog: Catalog) -> dict[str, Any]:
    """Everything as plain values for JSON; money is in USD, of a month or of an inference."""
    return {
        "basis": "loaded",
        "perfect_cost_per_inference_usd": found.perfect,
        "cost_per_inference_usd": found.real,
        "inferences_per_month": found.per_month,
        "perfect_monthly_cost_usd": found.perfect * found.per_month,
        "monthly_cost_usd": found.real * found.per_month,
        "waste_monthly_usd": found.monthly,
        "waste_share": found.share,
        "order": [kind.id for kind in kinds(found.scenario)],
        "parts": [
            {
                "kind": part.kind.id, "title": part.kind.title, "monthly_usd": part.monthly,
                "per_inference_usd": part.each, "alone_monthly_usd": part.alone,
            }
            for part in found.parts
        ],
        "findings": [
            {
                "kind": each.waste.kind.id, "title": each.waste.kind.title,
                "monthly_usd": each.waste.monthly, "evidence": each.evidence,
                "confidence": each.confidence, "why": each.why, "advice": each.advice,
                "changes": each.changes, "saves_monthly_usd": known(each.saves),
                "in_time_before": known(each.in_time[0]), "in_time_after": known(each.in_time[1]),
                "link": "?" + links.encode(found.scenario.model_copy(update=each.changes))
                if each.changes else None,
            }
            for each in findings(found, catalog)
        ],
        "link": "?" + links.encode(found.scenario),
    }  # fmt: skip


SETTINGS = {
    "Traffic and replicas": (
        "scaling", "peak_to_mean", "fixed_replicas", "target_utilisation", "min_replicas",
        "spare_replicas", "scaling_lag_share", "nonproduction_share",
    ),
    "Versions": ("live_versions", "old_traffic_share", "old_min_replicas", "stored_versions"),
    "Price": (
        "purchase", "unused_commitment_share", "spot_overhead_share",
        "spot_interruptions_per_month", "spot_restart_minutes", "spot_lost_minutes",
    ),
}  # fmt: skip
"""Fields that waste comes from, by what they are about."""
assert all(name in FIELDS for names in SETTINGS.values() for name in names)
