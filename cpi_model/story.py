"""Three sentences on a scenario: what it costs, what drives that, and what to change next.

They are written from the figures that the pages show, with the same digits. Text of the catalog is
repeated as it is, so they are shown as plain text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cpi_model.catalog import Catalog
from cpi_model.evaluate import Estimate
from cpi_model.export import digits, duration, money, money_between, percent
from cpi_model.scenario import Scenario
from cpi_model.studies import advice, bands
from cpi_model.studies.advice import WORTH_IT, Advice, Advised
from cpi_model.studies.answer import Answer, Suggestion
from cpi_model.studies.answer import answer as answer_scenario
from cpi_model.studies.optimise import LIMITED, compared
from cpi_model.units import DAY, MILLION, MONTH, YEAR

PERIODS = {"day": DAY, "month": MONTH, "year": YEAR}
FLAT = 0.001
"""A range narrower than this share is none."""
FELT = 0.05
"""A change of latency that is said, over the latency."""
RATHER_SURE = 0.9
"""With a lower probability a saving is not told without it."""
NOTHING = 1e-9
"""Of a bill: a smaller difference is rounding."""
MATTERS = 0.1
"""Share of the cost from which on a part is named beside the largest."""
PARTS = {
    "machines (compute and memory)": ("compute", "memory"),
    "network traffic": ("network",),
    "storage and logs": ("storage",),
    "orchestration (agents, monitoring, platform)": ("orchestration",),
}
"""What the components of the cost pay for."""
UNIT, NO_BREAK = re.compile(r"(?<=\d) (?=(?:%|ms|s|µs|GB|g|years?|days?)(?:\W|$))"), "\u00a0"
Three = tuple[str, str, str]


@dataclass(frozen=True)
class Story:
    """What a meeting needs of one scenario."""

    headline: str
    """Cost of an inference, or that it cannot work."""
    about: str
    """Of what the headline is the cost."""
    likely: str
    """Range of the headline; empty where there is none."""
    sentences: Three
    advised: Advised | None
    """None where the scenario cannot work."""


def sentences(result: Answer, catalog: Catalog) -> Three:
    """What it costs, what drives that, and the next best change; or why it cannot work."""
    return tell(result, catalog).sentences


def tell(result: Answer, catalog: Catalog) -> Story:
    """The story of a scenario."""
    found = advice.advise(result, catalog)
    estimate, scenario = result.estimate, result.scenario
    if found is None or estimate is None:
        why = _impossible(result, catalog)
        return Story("This cannot work", "As it stands", "", _unbroken(why), None)
    marginal = scenario.cost_basis == "marginal"
    noun, likely = _noun(result), _likely(result)
    about = f"One more {noun}, on a full replica" if marginal else f"One {noun}, all included"
    three = _cost(result, found.cost, noun, likely), _drivers(result, found), _next(found)
    return Story(money(found.cost, scenario), about, likely, _unbroken(three), found)


def _unbroken(three: Three) -> Three:
    """Without a break of the line between a number and its unit."""
    first, second, third = (UNIT.sub(NO_BREAK, sentence) for sentence in three)
    return first, second, third


# What it costs ------------------------------------------------------------------------------------


def _noun(result: Answer) -> str:
    """What one inference is in everyday words."""
    tokens = result.choice is not None and result.choice.model.transformer is not None
    return "answer" if tokens else "inference"


def _likely(result: Answer) -> str:
    """Range of the cost, or why there is none, as a part of a sentence."""
    marginal = result.scenario.cost_basis == "marginal"
    band = bands.of(result)["marginal_cost_per_inference" if marginal else "cost_per_inference"]
    if band is None:
        return "how far off that may be was not measured"
    if band.high <= band.low * (1.0 + FLAT):
        return "the same at any likely speed"
    return f"likely {money_between(band.low, band.high, result.scenario)}"


def _cost(result: Answer, cost: float, noun: str, likely: str) -> str:
    scenario, estimate = result.scenario, result.estimate
    assert estimate is not None
    marginal = scenario.cost_basis == "marginal"
    which = f"One more {noun} on a full replica" if marginal else f"One {noun}"
    bill = _bill(float(estimate.cost_rate), scenario)
    return (
        f"{which} costs {money(cost, scenario)} ({money(cost * MILLION, scenario)} for a million), "
        f"{likely}; the whole bill is {bill}."
    )


def _bill(rate: float, scenario: Scenario) -> str:
    """USD a second as an amount for the period that the scenario shows."""
    return f"{money(rate * PERIODS[scenario.period], scenario)} a {scenario.period}"


# What drives it -----------------------------------------------------------------------------------


def shares(estimate: Estimate, marginal: bool) -> dict[str, float]:
    """Parts of the cost over the whole, by what they pay for, the largest first. [1]"""
    basis = "marginal_" if marginal else ""
    whole = float(getattr(estimate, f"{basis}cost_per_inference"))
    found = {
        words: sum(float(getattr(estimate, f"{basis}{part}_cost")) for part in parts) / whole
        for words, parts in PARTS.items()
    }
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _drivers(result: Answer, found: Advised) -> str:
    estimate, marginal = found.estimate, found.scenario.cost_basis == "marginal"
    (largest, share), (second, its_share), *_ = shares(estimate, marginal).items()
    of = f"what one more {_noun(result)} costs" if marginal else "the cost"
    text = f"{percent(share)} of {of} pays for {largest}"
    if its_share >= MATTERS:
        text += f" and {percent(its_share)} for {second}"
    if marginal:
        return f"{text}; idle time is not in it."
    of_both = " of both models" if found.scenario.cascade_model != "none" else ""
    return (
        f"{text}; on average the machines{of_both} do {percent(float(estimate.utilisation))} of "
        "what they could."
    )


# What to change next ------------------------------------------------------------------------------


def _next(found: Advised) -> str:
    best = found.best
    if found.broken:
        return f"{_capital(' and '.join(_broken(found)))}: {_repair(found)}"
    if best is not None:
        return f"The best next step, {best.step.text}, {'; '.join(_saves(best, found))}."
    changes = f"{found.tried:,} change" + ("" if found.tried == 1 else "s")
    text = (
        f"No single change is likely to save {percent(WORTH_IT)} or more within limits and "
        f"quality: {changes} tried"
    )
    if found.unmeasured:
        other = found.unmeasured[0]
        text += (
            f"; {other.step.text} would save {percent(other.saved_share)}, but nobody measured "
            "what that costs in quality"
        )
    return f"{text}."


def _saves(each: Advice, found: Advised) -> Iterator[str]:
    """What a step saves and changes, as parts of a sentence of which it is the subject."""
    yield f"saves {percent(each.saved_share)}{_money_saved(each)}{_where(each)}{_quality(each)}"
    before, after = float(found.estimate.latency_p95), float(each.estimate.latency_p95)
    if abs(after / before - 1.0) > FELT and duration(before) != duration(after):
        yield f"95 of 100 requests then take up to {duration(after)} instead of {duration(before)}"
    if each.step.caveat:
        yield each.step.caveat
    if each.probability < RATHER_SURE:
        yield f"with the likely errors it saves in {each.probability * 100:.0f} of 100 cases"


def _money_saved(each: Advice) -> str:
    """What a step takes off the bill or adds to it, in brackets; empty where that is nothing."""
    if not _moves_the_bill(each):
        return ""
    more = "" if each.saved_rate > 0 else " more"
    return f" ({_bill(abs(each.saved_rate), each.scenario)}{more})"


def _moves_the_bill(each: Advice) -> bool:
    return abs(each.saved_rate) > NOTHING * float(each.estimate.cost_rate)


def _where(each: Advice) -> str:
    """Where it is bought, if that is not where the scenario is now."""
    return f" on {each.where}" if each.where else ""


def _quality(each: Advice) -> str:
    if each.step.kind != "scheme":
        return ""
    return f" and keeps {percent(each.kept.known.median)} of the quality, as measured"


def _broken(found: Advised) -> Iterator[str]:
    """Each limit that is not kept, as a clause."""
    scenario, estimate = found.scenario, found.estimate
    for name in found.broken:
        if name == "slo_share":
            good, asked = float(estimate.good_share), percent(scenario.slo_share)
            few = "hardly any request is" if good < 0.0005 else (
                f"only {percent(good)} of the requests are"
            )  # fmt: skip
            yield f"{few} in time where {asked} must be"
            continue
        limit = getattr(scenario, name)
        used = float(compared(name, estimate, found.devices_per_replica))
        if math.isnan(used):
            yield "its carbon is not known"
        elif name == "max_devices":
            devices = "device is" if limit == 1 else "devices are"
            yield f"it takes {digits(used)} devices where {limit:,} {devices} allowed"
        elif name == "max_usd_per_month":
            yield (
                f"it costs {money(used, scenario)} a month where {money(limit, scenario)} is "
                "the budget"
            )
        else:
            yield f"it emits {digits(used)} g of CO₂ where {digits(limit)} g is allowed"


def _repair(found: Advised) -> str:
    best = found.best
    if best is None:
        return "no single change keeps every limit."
    word = "saves" if best.saved > 0 else "costs"
    more = "" if best.saved > 0 else " more"
    cost = f"{word} {percent(abs(best.saved_share))}{more}{_money_saved(best)}"
    if abs(best.saved_share) < FLAT:
        cost = "costs the same"
        if _moves_the_bill(best) and best.saved_rate > 0.0:
            cost += f" and takes {_bill(best.saved_rate, best.scenario)} off the bill"
    rest = f"; {best.step.caveat}" if best.step.caveat else ""
    return (
        f"the cheapest step that keeps every limit, {best.step.text}, {cost}"
        f"{_where(best)}{_quality(best)}{rest}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# What cannot work ---------------------------------------------------------------------------------


def _impossible(result: Answer, catalog: Catalog) -> Three:
    first, *others = result.reasons
    more = " ".join(others) or "So there is no cost to show."
    if not result.suggestions:
        return (
            f"This cannot work as it stands: {first}", more,
            "Nothing near it works: begin with another model or other hardware.",
        )  # fmt: skip
    nearest = result.suggestions[0]
    return (
        f"This cannot work as it stands: {first}", more,
        f"The nearest that works: {nearest.text[:1].lower()}{nearest.text[1:]}"
        f"{_then(result, nearest, catalog)}.",
    )  # fmt: skip


def _then(result: Answer, nearest: Suggestion, catalog: Catalog) -> str:
    """What one inference costs after a suggestion."""
    changed = answer_scenario(result.scenario.model_copy(update=nearest.changes), catalog)
    if changed.estimate is None or not changed.feasible:
        return ""
    scenario = changed.scenario
    marginal = scenario.cost_basis == "marginal"
    cost = changed.estimate.marginal_cost_per_inference if marginal else (
        changed.estimate.cost_per_inference
    )  # fmt: skip
    return f"; one {_noun(changed)} then costs {money(float(cost), scenario)}"


assert LIMITED.keys() <= {"max_devices", "max_usd_per_month", "max_carbon_g"}
