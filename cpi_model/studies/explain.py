"""Why an estimate is what it is: the steps with their numbers, the inputs with their sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.evaluate import Estimate, floor_replicas, performance
from cpi_model.formulas import adaptive, batching, pricing
from cpi_model.inputs import Choice, Inputs, parameters
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Sourced
from cpi_model.studies import bands
from cpi_model.studies.answer import Answer
from cpi_model.studies.bands import serving
from cpi_model.studies.options import plays_a_part
from cpi_model.studies.service import Service
from cpi_model.units import (
    BILLION,
    DAY,
    HOUR,
    KILO,
    MILLION,
    MILLISECOND,
    MONTH,
    PICOSECOND,
    YEAR,
    Numeric,
)

YOURS = "entered by you"
ROUNDING = 1e-9
"""Differences of this share are no differences."""


@dataclass(frozen=True)
class Step:
    """One line of the calculation, in LaTeX."""

    title: str
    formula: str
    numbers: str
    """The same with the numbers of the scenario, and the result."""


@dataclass(frozen=True)
class Fact:
    """One figure that went in, and where it comes from."""

    kind: str
    name: str
    value: float | str
    unit: str
    source: str
    as_of: date | None


@dataclass(frozen=True)
class Accuracy:
    """How far measured runs were from estimates of this kind."""

    what: str
    rows: int
    median_error: float
    p90_error: float


def steps(answer: Answer) -> list[Step]:
    """The calculation from speed to cost, each line with its numbers; none where it cannot be."""
    if answer.inputs is None or answer.estimate is None or not answer.feasible:
        return []
    speed = _token_steps if answer.inputs.is_llm else _sample_steps
    scenario, parts = answer.scenario, answer.parts
    if len(parts) == 1:
        return [*speed(*parts[0]), *_cost_steps(scenario, *parts[0])]
    large, small = parts
    return [
        *speed(*large), *_cost_steps(scenario, *large),
        *_cascade_steps(answer.service, small[1], large[1], answer.estimate),
    ]  # fmt: skip


def _n(value: Numeric, significant: int = 4) -> str:
    """A number in LaTeX.

    >>> _n(1234567.0), _n(0.0000123456), _n(32.0)
    ('1{,}234{,}567', '1.235\\\\times10^{-5}', '32')
    """
    number = float(value)
    if number.is_integer() and abs(number) < BILLION:
        return f"{number:,.0f}".replace(",", "{,}")
    text = f"{number:.{significant}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return rf"{mantissa}\times10^{{{int(exponent)}}}"
    return f"{float(text):,.12f}".rstrip("0").rstrip(".").replace(",", "{,}")


def _ms(seconds: Numeric) -> str:
    return _n(float(seconds) / MILLISECOND)


def _token_steps(x: Inputs, e: Estimate) -> Iterator[Step]:
    """Continuous batching of a language model."""
    beside = max(float(e.running) / float(x.data_parallel), 1.0)
    occupied = float(e.prefill_time) / float(x.pipeline_parallel)
    decoded = max(float(x.output_tokens) - 1.0, 0.0)
    # Prompts of requests that start in the same step go through the layers together.
    starting = max(beside / max(float(x.output_tokens), 1.0), 1.0)
    own = float(e.prefill_time) * starting
    prompt = max(float(x.input_tokens) * (1.0 - float(x.cached_input_share)), 1.0) * starting
    passes = float(batching.prompt_passes(prompt, x.prefill_chunk))
    steps = float(x.ttft_step) + (passes - 1.0 if beside > 1.0 else 0.0)
    yielded = float(adaptive.tokens_per_step(x.draft_tokens, x.acceptance))
    token_time = float(e.decode_step_time) / yielded
    share = batching.prompt_share(occupied, token_time, beside, decoded)
    ahead = float(x.ttft_burst) + float(x.ttft_queue) * float(share)
    host, begin = occupied + float(x.host_time), float(x.ttft_start)
    first = begin + batching.time_to_first_token(
        own, host, e.decode_step_time, beside - starting + 1.0, x.ttft_prefill, ahead, steps
    )
    linear = float(e.step_weights) + float(e.step_compute)
    drafted = float(x.draft_tokens) > 0.0
    yield Step(
        "One decode step: every running request gets its next token",
        r"t_d = t_\mathrm{weights} + t_\mathrm{arithmetic} + t_\mathrm{cache} + "
        r"t_\mathrm{network} + t_\mathrm{overhead}" + (r" + t_\mathrm{draft}" if drafted else ""),
        rf"{_ms(e.step_weights)} + {_ms(linear - float(e.step_weights))} + {_ms(e.step_cache)} + "
        rf"{_ms(e.step_network)} + {_ms(e.step_overhead)}"
        + (rf" + {_ms(e.step_draft)}" if drafted else "")
        + rf" = {_ms(e.decode_step_time)}\ \mathrm{{ms}}",
    )
    if drafted:
        yield Step(
            "A step checks the tokens of the draft: those accepted and one more come out of it",
            r"t_1 = \frac{t_d}{E}, \quad E = \frac{1-\alpha^{k+1}}{1-\alpha}",
            rf"\frac{{{_ms(e.decode_step_time)}}}{{{_n(yielded)}}} = {_ms(token_time)}\ "
            r"\mathrm{ms}",
        )
    step = "t_1" if drafted else "t_d"
    if float(x.whole_batches):
        yield from _batch_steps(x, e, beside, token_time, step)
        return
    if float(x.disaggregated):
        yield from _pool_steps(x, e, occupied, token_time, step)
        return
    if passes > 1.0:
        yield Step(
            "A prompt is read in chunks, each with a step of the others' answers",
            r"k = \left\lceil P / C \right\rceil",
            rf"\left\lceil \frac{{{_n(prompt)}}}{{{_n(x.prefill_chunk)}}} \right\rceil = "
            rf"{_n(passes)}",
        )
    yield Step(
        "Time per output token: the step, and other prompts that are read in between",
        rf"\mathrm{{TPOT}} = {step} + \gamma\,(1 - b_1\,\rho)\,t_p\,\frac{{N-1}}{{O}}",
        rf"{_ms(token_time)} + {_n(x.prefill_interference)} \cdot "
        rf"(1 - {_n(x.prefill_waited)} \cdot {_n(share)}) \cdot {_ms(occupied)} \cdot "
        rf"\frac{{{_n(beside)}-1}}{{{_n(x.output_tokens)}}} = {_ms(e.tpot)}\ \mathrm{{ms}}",
    )
    yield Step(
        "Time to first token: the m prompts that are read in one pass, the own among them, other "
        "prompts before it, steps, receiving",
        r"\mathrm{TTFT} = a\,t_\mathrm{own} + (b_0 + b_1\,\rho)\,(N-m)\,(t_p + t_h) + "
        r"c\,t_d + t_0",
        rf"{_n(x.ttft_prefill)} \cdot {_ms(own)} + ({_n(x.ttft_burst)} + "
        rf"{_n(x.ttft_queue)} \cdot {_n(share)}) \cdot "
        rf"({_n(beside)}-{_n(starting)}) \cdot {_ms(host)} + {_n(steps)} \cdot "
        rf"{_ms(e.decode_step_time)} + {_ms(begin)} = {_ms(first)}\ \mathrm{{ms}}",
    )
    together = first + decoded * float(e.tpot)
    whole = float(batching.prompt_bound_time(together, occupied, beside))
    kept_out = max(float(x.concurrency) - float(e.running), 0.0) / float(e.throughput)
    answered, lookup = _cached_answers(x)
    of_the_model = (float(e.ttft) - lookup) / (1.0 - answered)
    begun = of_the_model - kept_out
    if begun > (whole - decoded * float(e.tpot)) * (1.0 + ROUNDING):
        yield Step(
            "No answer begins before its prompt can have been read at the datasheet's speed",
            r"\mathrm{TTFT}' = \max\left(\mathrm{TTFT},\ t_\mathrm{least}\right)",
            rf"\max\left({_ms(first)},\ {_ms(begun)}\right) = {_ms(begun)}\ \mathrm{{ms}}",
        )
        first = begun
    elif whole > together:
        first = whole - decoded * float(e.tpot)
        yield Step(
            "Prompts are read one after another, which takes longer here than all of that",
            r"\mathrm{TTFT} = N\,t_p - (O-1)\,\mathrm{TPOT}",
            rf"{_n(beside)} \cdot {_ms(occupied)} - {_n(decoded)} \cdot {_ms(e.tpot)} = "
            rf"{_ms(first)}\ \mathrm{{ms}}",
        )
    yield Step(
        "Requests per second of a full replica",
        r"X = \frac{N}{\mathrm{TTFT} + (O-1)\,\mathrm{TPOT}}",
        rf"\frac{{{_n(e.running)}}}{{{_n(first)} + {_n(decoded)} \cdot {_n(e.tpot)}}} = "
        rf"{_n(e.throughput)}\ \mathrm{{s}}^{{-1}}",
    )
    if float(x.concurrency) > float(e.running):
        yield Step(
            "Requests that memory keeps out wait until one that runs is done",
            r"\mathrm{TTFT}' = \mathrm{TTFT} + \frac{N_\mathrm{asked} - N}{X}",
            rf"{_ms(first)} + \frac{{{_n(x.concurrency)} - {_n(e.running)}}}{{{_n(e.throughput)}}} "
            rf"\cdot 1000 = {_ms(of_the_model)}\ \mathrm{{ms}}",
        )
    if answered:
        yield Step(
            "A cache answers some requests: all are looked up, and the rest go to the model",
            r"\mathrm{TTFT}'' = t_\mathrm{lookup} + (1 - h)\,\mathrm{TTFT}'",
            rf"{_ms(lookup)} + (1 - {_n(answered)}) \cdot {_ms(of_the_model)} = {_ms(e.ttft)}\ "
            r"\mathrm{ms}",
        )


def _cached_answers(x: Inputs) -> tuple[float, float]:
    """Share of requests that a cache answers, and the time of looking up, if there is one."""
    answered = float(x.answer_hit_share)
    return answered, float(x.lookup_time) if answered else 0.0


def _cascade_steps(
    whole: Service | None, small: Estimate, large: Estimate, both: Estimate
) -> Iterator[Step]:
    """What a small model that answers first makes of it."""
    assert whole is not None and whole.first is not None
    passed = float(whole.passed_on) * (1.0 - float(whole.first.answer_hit_share))
    yield Step(
        "With the small model that answers first, USD: its cost, and that of what is passed on",
        r"c = c_\mathrm{first} + e\,c_\mathrm{large}",
        rf"{_n(small.cost_per_inference)} + {_n(passed)} \cdot {_n(large.cost_per_inference)} = "
        rf"{_n(both.cost_per_inference)}\ \mathrm{{USD}}",
    )
    yield Step(
        "Mean time of a request: at the small model, and at the large one for what is passed on",
        r"L = L_\mathrm{first} + e\,L_\mathrm{large}",
        rf"{_ms(small.latency_mean)} + {_n(passed)} \cdot {_ms(large.latency_mean)} = "
        rf"{_ms(both.latency_mean)}\ \mathrm{{ms}}",
    )


def _batch_steps(
    x: Inputs, e: Estimate, beside: float, token_time: float, step: str
) -> Iterator[Step]:
    """A batch of a language model from its first to its last token."""
    prompt = float(e.prefill_time)
    first = beside * prompt
    longest = float(batching.longest_of(x.output_tokens, x.output_cv, e.running))
    lasting = first + max(longest - 1.0, 0.0) * token_time
    yield Step(
        "Time per output token: the step, for no prompt is read in between",
        rf"\mathrm{{TPOT}} = {step}",
        rf"{_ms(token_time)} = {_ms(e.tpot)}\ \mathrm{{ms}}",
    )
    yield Step(
        "The prompts of the batch go through the layers together, so that weights are read and the "
        "overhead is paid once: each takes its part of that pass",
        r"t_f = N\,t_p",
        rf"{_n(beside)} \cdot {_ms(prompt)} = {_ms(first)}\ \mathrm{{ms}}",
    )
    yield Step(
        "The batch lasts until the longest answer is done, whose expected length follows from "
        "their spread",
        rf"t_B = t_f + (O_\mathrm{{max}} - 1)\,{step}",
        rf"{_ms(first)} + ({_n(longest)} - 1) \cdot {_ms(token_time)} = {_ms(lasting)}\ "
        r"\mathrm{ms}",
    )
    yield Step(
        "Requests per second of a full replica",
        r"X = \frac{N}{t_B}",
        rf"\frac{{{_n(e.running)}}}{{{_n(lasting)}}} = {_n(e.throughput)}\ \mathrm{{s}}^{{-1}}",
    )


def _pool_steps(
    x: Inputs, e: Estimate, occupied: float, token_time: float, step: str
) -> Iterator[Step]:
    """Prompts on replicas of their own, and their keys and values on the way to the others."""
    decoded = max(float(x.output_tokens) - 1.0, 0.0)
    share = float(performance(x).prefill_replicas)
    hand_over = (float(e.tpot) - token_time) * max(decoded, 1.0)
    own = float(e.prefill_time) + float(x.host_time) + float(x.ttft_start)
    others, running = decoded * float(e.tpot), float(e.running)
    demand = occupied / (float(x.data_parallel) * share)
    whole = running / float(e.throughput)
    waits = whole - own - others
    yield Step(
        "Time per output token: the step, and the keys and values handed over once",
        rf"\mathrm{{TPOT}} = {step} + \frac{{t_h}}{{O-1}}",
        rf"{_ms(token_time)} + \frac{{{_ms(hand_over)}}}{{{_n(max(decoded, 1.0))}}} = "
        rf"{_ms(e.tpot)}\ \mathrm{{ms}}",
    )
    yield Step(
        "A prompt waits for those before it at the prefill replicas, R for each other one",
        r"W = \frac{N-1}{N}\,\frac{t_p}{R}\,X\,(t_\mathrm{own} + W)",
        rf"\frac{{{_n(running)}-1}}{{{_n(running)}}} \cdot {_ms(demand)} \cdot "
        rf"{_n(e.throughput)} \cdot ({_n(own)} + {_n(waits)}) = {_ms(waits)}\ \mathrm{{ms}}",
    )
    yield Step(
        "Requests per second of a replica that decodes: as many as are in flight over their time",
        r"X = \frac{N}{t_\mathrm{own} + W + (O-1)\,\mathrm{TPOT}}",
        rf"\frac{{{_n(running)}}}{{{_n(own)} + {_n(waits)} + {_n(others)}}} = "
        rf"{_n(e.throughput)}\ \mathrm{{s}}^{{-1}}",
    )


def _sample_steps(x: Inputs, e: Estimate) -> Iterator[Step]:
    """Batches of a model without a token-by-token loop."""
    yield Step(
        "One batch",
        r"t = t_\mathrm{memory} + t_\mathrm{arithmetic} + t_\mathrm{gather} + t_\mathrm{overhead}",
        rf"{_ms(e.step_weights)} + {_ms(e.step_compute)} + {_ms(e.step_cache)} + "
        rf"{_ms(e.step_overhead)} = {_ms(e.decode_step_time)}\ \mathrm{{ms}}",
    )
    yield Step(
        "Requests per second of a full replica",
        r"X = \frac{N}{t}",
        rf"\frac{{{_n(e.running)}}}{{{_n(e.decode_step_time)}}} = {_n(e.throughput)}\ "
        r"\mathrm{s}^{-1}",
    )


def _by_version(scenario: Scenario, x: Inputs, e: Estimate, load: float) -> Step:
    """Replicas where the newest version and each older one have their own."""
    older = scenario.live_versions - 1
    newest, other = (
        float(each) for each in pricing.load_by_version(load, x.live_versions, x.old_traffic_share)
    )
    least, least_older = float(x.min_replicas), float(x.old_min_replicas)
    room = rf"{_n(e.throughput)} \cdot {_n(x.target_utilisation)}"
    if scenario.scaling == "follow":
        late = _n(1 + float(x.scaling_lag_share))

        def moving(part: float, least: float) -> str:
            return rf"\max\left(\frac{{{_n(part)}}}{{{room}}} \cdot {late},\ {_n(least)}\right)"

        return Step(
            "Replicas: of each live version as its traffic needs, between its minimum and the peak",
            r"R = \min\left(\max\left(\frac{\lambda_1}{X\,\rho}\,(1 + \mathrm{lag}),\ "
            r"\mathrm{min}_1\right) + (v - 1)\max\left(\frac{\lambda_o}{X\,\rho}\,"
            r"(1 + \mathrm{lag}),\ \mathrm{min}_o\right) + \mathrm{spare},\ "
            r"R_\mathrm{peak}\right)",
            rf"\min\left({moving(newest, least)} + {older} \cdot {moving(other, least_older)} + "
            rf"{_n(x.spare_replicas)},\ {_n(e.peak_replicas)}\right) = {_n(e.replicas)}",
        )

    def whole(part: float, least: float) -> str:
        return (
            rf"\max\left(\left\lceil \frac{{{_n(part)} \cdot {_n(x.peak_to_mean)}}}{{{room}}} "
            rf"\right\rceil,\ {_n(max(least, 1.0))}\right)"
        )

    return Step(
        "Replicas: of each live version whole ones, enough for its own peak",
        r"R = \max\left(\left\lceil \frac{\lambda_1\,\mathrm{peak}}{X\,\rho} \right\rceil,\ "
        r"\mathrm{min}_1\right) + (v - 1)\max\left(\left\lceil \frac{\lambda_o\,\mathrm{peak}}"
        r"{X\,\rho} \right\rceil,\ \mathrm{min}_o\right) + \mathrm{spare}",
        rf"{whole(newest, least)} + {older} \cdot {whole(other, least_older)} + "
        rf"{_n(x.spare_replicas)} = {_n(e.replicas)}",
    )


def _cost_steps(scenario: Scenario, x: Inputs, e: Estimate) -> Iterator[Step]:
    """Replicas for the load, and money."""
    result = rf"{_n(e.replicas)}"
    answered, _ = _cached_answers(x)
    load = float(x.requests_per_s) * (1.0 - answered)
    if scenario.scaling == "fixed":
        yield Step("Replicas: a fixed number", "R = n", result)
    elif float(x.old_traffic_share) >= 0.0 and scenario.live_versions > 1:
        yield _by_version(scenario, x, e, load)
    elif scenario.scaling == "follow":
        yield Step(
            "Replicas: as the traffic needs, on average, between the minimum and the peak",
            r"R = \min\left(\max\left(\frac{\lambda}{X\,\rho}\,(1 + \mathrm{lag}),\ "
            r"\mathrm{min}\right) + \mathrm{spare},\ R_\mathrm{peak}\right)",
            rf"\min\left(\max\left(\frac{{{_n(load)}}}{{{_n(e.throughput)} \cdot "
            rf"{_n(x.target_utilisation)}}} \cdot {_n(1 + float(x.scaling_lag_share))},\ "
            rf"{_n(floor_replicas(x))}\right) + "
            rf"{_n(x.spare_replicas)},\ {_n(e.peak_replicas)}\right) = {result}",
        )
    else:
        yield Step(
            "Replicas: whole ones, enough for the peak at the target utilisation",
            r"R = \max\left(\left\lceil \frac{\lambda\,\mathrm{peak}}{X\,\rho} \right\rceil,\ "
            r"\mathrm{min}\right) + \mathrm{spare}",
            rf"\max\left(\left\lceil \frac{{{_n(load)} \cdot {_n(x.peak_to_mean)}}}"
            rf"{{{_n(e.throughput)} \cdot {_n(x.target_utilisation)}}} \right\rceil,\ "
            rf"{_n(max(float(floor_replicas(x)), float(x.live_versions)))}\right) + "
            rf"{_n(x.spare_replicas)} = {result}",
        )
    successes = float(x.requests_per_s) * float(x.success_share)
    rent = float(e.instances) * float(x.instance_price) * HOUR
    rest = float(e.cost_rate) * HOUR - rent
    yield Step(
        "Cost of the deployment in an hour, USD: instances, and everything around them",
        r"C = I\,p + C_\mathrm{storage} + C_\mathrm{network} + C_\mathrm{orchestration}",
        rf"{_n(e.instances)} \cdot {_n(float(x.instance_price) * HOUR)} + {_n(rest)} = "
        rf"{_n(float(e.cost_rate) * HOUR)}\ \mathrm{{USD/h}}",
    )
    yield Step(
        "Cost per successful inference, fully loaded, USD",
        r"c = \frac{C}{\lambda\,s}",
        rf"\frac{{{_n(float(e.cost_rate) * HOUR)}/3600}}{{{_n(x.requests_per_s)} \cdot "
        rf"{_n(x.success_share)}}} = \frac{{{_n(e.cost_rate)}}}{{{_n(successes)}}} = "
        rf"{_n(e.cost_per_inference)}\ \mathrm{{USD}}",
    )


MEASURES = {
    "ttft": "time to first token", "tpot": "time per output token", "throughput": "throughput",
}  # fmt: skip


def accuracy(answer: Answer) -> list[Accuracy]:
    """Errors on measured runs like this one; empty where none was measured.

    On runs left out of the fit where there are such figures: of the same model, chip and engine
    if any were measured, else of models, chips and engines that were not in it together.
    """
    if answer.choice is None:
        return []
    fitted = coefficients()
    kind, pair = serving(answer.choice, fitted)
    found = []
    for measure, what in MEASURES.items():
        spread = fitted.spread(kind, measure, pair)
        if spread is not None:
            found.append(Accuracy(what, spread.rows, spread.median_error, spread.p90_error))
    return found


def on_which_runs(answer: Answer) -> str:
    """What the runs behind :func:`accuracy` have to do with the fit."""
    if answer.choice is not None and serving(answer.choice, coefficients())[1].rows_here:
        return "runs left out of the fit, others of the same model, chip and engine being in it"
    return "runs left out of the fit with all others of their model, chip and engine"


@dataclass(frozen=True)
class Cost:
    """One way of stating the cost. [USD]"""

    name: str
    loaded: float
    marginal: float
    """NaN where it has no meaning."""
    likely: tuple[float, float] | None
    """Range of the fully loaded one; None where it is not known."""


def costs(answer: Answer) -> list[Cost]:
    """The same cost in all the units that people compare, fully loaded and marginal."""
    e = answer.estimate
    if e is None or not answer.feasible:
        return []
    found = bands.of(answer)
    whole = float(e.cost_per_inference)
    share = float(e.marginal_cost_per_inference) / whole if whole else math.nan

    def cost(name: str, figure: str, count: float, share: float = math.nan) -> Cost:
        amount, band = float(getattr(e, figure)) * count, found[figure]
        likely = None if band is None else (band.low * count, band.high * count)
        return Cost(name, amount, amount * share, likely)

    tokens = {
        "Per million input tokens": "input_token_cost",
        "Per million cached input tokens": "cached_token_cost",
        "Per million output tokens": "output_token_cost",
    }
    return [
        cost("Per inference", "cost_per_inference", 1.0, share),
        cost("Per 1,000 inferences", "cost_per_inference", KILO, share),
        cost("Per million inferences", "cost_per_inference", MILLION, share),
        cost("Per inference within all limits", "cost_per_good_inference", 1.0),
        *(
            cost(name, figure, MILLION, share)
            for name, figure in tokens.items()
            if math.isfinite(float(getattr(e, figure)))
        ),
        cost("Per day", "cost_rate", DAY),
        cost("Per month", "cost_rate", MONTH),
        cost("Per year", "cost_rate", YEAR),
    ]


def facts(answer: Answer, catalog: Catalog) -> list[Fact]:
    """Every figure behind an estimate that comes from a source, with the source and its date."""
    choice, inputs = answer.choice, answer.inputs
    if choice is None or inputs is None:
        return []
    return [
        *_price_facts(answer.scenario, choice, inputs),
        *_chip_facts(choice),
        *_model_facts(choice),
        *_fitted_facts(answer.scenario, choice, inputs, coefficients()),
        *_assumptions(answer.scenario, catalog),
    ]


def _of(thing: Sourced, field: str) -> tuple[str, date | None]:
    """Source of a field and its date."""
    source = thing.source_of(field)
    if source is None:
        return "default of the schema", None
    title = f"{source.title} (assumption)" if source.kind == "assumption" else source.title
    return title, source.accessed


def _price_facts(scenario: Scenario, choice: Choice, inputs: Inputs) -> Iterator[Fact]:
    price, instance = choice.price, choice.instance
    option = scenario.purchase.replace("_", " ")
    if price is not None:
        yield Fact(
            "Price", f"{price.instance} in {price.region}, {option}", price.usd_per_hour, "USD/h",
            price.source, price.valid_from,
        )  # fmt: skip
    elif scenario.device_price_usd_per_hour is not None:
        own = scenario.device_price_usd_per_hour
        yield Fact("Price", "Own price per device", own, "USD/h", YOURS, None)
    effective = float(inputs.instance_price) * HOUR
    name = "Instance after discount, spot overhead and unused commitment"
    yield Fact("Price", name, effective, "USD/h", "follows from the lines above and below", None)
    if instance is not None:
        count = instance.accelerator_count
        yield Fact(
            "Price", f"Devices in {instance.id}", count, "", instance.source, instance.accessed
        )


def _chip_facts(choice: Choice) -> Iterator[Fact]:
    chip = choice.accelerator
    figures = [
        (f"Dense peak in {choice.arithmetic}", f"dense_tflops.{choice.arithmetic}",
         chip.dense_tflops[choice.arithmetic], "TFLOP/s"),
        ("Memory", "memory_gb", chip.memory_gb, "GB"),
        ("Memory bandwidth", "memory_bandwidth_gb_per_s", chip.memory_bandwidth_gb_per_s, "GB/s"),
        ("Link, one direction", "link_gb_per_s", chip.link_gb_per_s, "GB/s"),
        ("Board power", "tdp_w", chip.tdp_w, "W"),
        ("Idle power", "idle_w", chip.idle_w, "W"),
    ]  # fmt: skip
    for name, field, value, unit in figures:
        if value is not None:
            yield Fact("Hardware", f"{chip.name}: {name}", value, unit, *_of(chip, field))


def _model_facts(choice: Choice) -> Iterator[Fact]:
    model, counts, shape = choice.model, parameters(choice.model), choice.model.transformer
    if shape is not None:
        source = _of(
            model, "transformer.hidden" if model.params_from == "architecture" else "params_b"
        )
        yield Fact("Model", f"{model.name}: parameters", counts.total / BILLION, "billion", *source)
        if shape.experts:
            yield Fact(
                "Model", f"{model.name}: used for one token", counts.active / BILLION, "billion",
                *source,
            )  # fmt: skip
        source = _of(model, "transformer.attention")
        layers = shape.attention.layers + shape.attention.window_layers
        yield Fact("Model", f"{model.name}: layers with attention", layers, "", *source)
        yield Fact("Model", f"{model.name}: key-value heads", shape.attention.kv_heads, "", *source)
    elif model.sample is not None:
        source = _of(model, "params_b")
        yield Fact("Model", f"{model.name}: parameters", model.params_b, "billion", *source)
        name = f"{model.name}: work of one {model.sample.unit}"
        yield Fact("Model", name, model.sample.gflop, "GFLOP", *_of(model, "sample.gflop"))
    scheme = choice.scheme
    yield Fact(
        "Precision", f"{scheme.name}: weights", scheme.weight_bits, "bit",
        *_of(scheme, "weight_bits"),
    )  # fmt: skip


def _fitted_facts(
    scenario: Scenario, choice: Choice, inputs: Inputs, fitted: Coefficients
) -> Iterator[Fact]:
    tokens = choice.model.transformer is not None
    # The correction is no part of what was fitted; it has a line of its own.
    first = scenario.first_token_correction
    if tokens:
        rows = fitted.chip(choice.accelerator).rows
        where = f"chips of generation {choice.accelerator.generation}"
        engine_rows = fitted.engine(choice.engine.id).rows
    else:
        rows = fitted.sample(choice.model.model_class).rows
        where = f"models of class {choice.model.model_class}"
        engine_rows = rows

    def source(count: int, what: str) -> str:
        if count == 0:
            return f"no measured run of {what}: a default (assumption)"
        return f"fitted to {count:,} measured runs of {what}"

    chip_source = source(rows, where)
    engine_source = source(engine_rows, choice.engine.name) if tokens else chip_source
    expanded = f"fitted to {fitted.compression.description}"
    figures = [
        ("Share of the peak reached", inputs.compute_efficiency, 1.0, "", chip_source, True),
        ("Share of the bandwidth reached, weights", inputs.memory_efficiency, 1.0, "",
         chip_source, True),
        ("Share of the bandwidth reached, cache", inputs.cache_efficiency, 1.0, "",
         chip_source, tokens),
        ("Share of the link reached", inputs.link_efficiency, 1.0, "", chip_source,
         choice.devices_per_replica > 1),
        ("Overhead of a layer" if tokens else "Overhead of a pass", inputs.layer_overhead,
         MILLISECOND, "ms", engine_source, True),
        ("Overhead of a step" if tokens else "Overhead of a batch", inputs.step_overhead,
         MILLISECOND, "ms", engine_source, True),
        ("Overhead of a running request", inputs.sequence_overhead, MILLISECOND, "ms",
         engine_source, tokens),
        ("Prefill in the way of decoding, γ", inputs.prefill_interference, 1.0, "",
         engine_source, tokens),
        ("Arithmetic in this scheme, over what that share says", inputs.scheme_work, 1.0, "×",
         expanded, bool(inputs.scheme_work != 1.0)),
        ("Expanding a weight, of one pass", inputs.expansion_time, PICOSECOND, "ps", expanded,
         bool(inputs.expansion_time)),
        ("First token: own prompt, a", inputs.ttft_prefill, first, "", engine_source, tokens),
        ("First token: other prompts, b₀", inputs.ttft_burst, first, "", engine_source, tokens),
        ("First token: other prompts, b₁", inputs.ttft_queue, first, "", engine_source, tokens),
        ("First token: steps, c", inputs.ttft_step, first, "", engine_source, tokens),
    ]  # fmt: skip
    if tokens:
        _, pair = serving(choice, fitted)
        text = source(pair.rows, "this model with this engine, here or on other chips")
        figures += [
            ("This pairing: on the time of a step", pair.fixed, 1.0, "", text, True),
            ("This pairing: on what grows with the requests", pair.sequence, 1.0, "", text, True),
            ("This pairing: on the time of a prompt", pair.prompt, 1.0, "", text, True),
            ("This pairing: in a, own prompt", pair.ttft_prefill, 1.0, "", text, True),
            ("This pairing: in b₀, other prompts", pair.ttft_burst, 1.0, "", text, True),
            ("This pairing: in c, steps", pair.ttft_step, 1.0, "", text, True),
            ("This pairing: in t₀, receiving", pair.ttft_start, 1.0, "", text, True),
        ]
    for name, value, scale, unit, text, shown in figures:
        if shown:
            yield Fact("Fitted", name, float(value) / scale, unit, text, fitted.fitted_on)
    if tokens:
        assumed = fitted.assumptions
        yield Fact(
            "Fitted", "Working space of the engine on a device", assumed.workspace_gb, "GB",
            *_of(assumed, "workspace_gb"),
        )  # fmt: skip


def _assumptions(scenario: Scenario, catalog: Catalog) -> Iterator[Fact]:
    """Fields with a default of somebody; what the user changed is the user's."""
    for name, info in FIELDS.items():
        value = getattr(scenario, name)
        if not info.source or value is None or not plays_a_part(name, scenario, catalog):
            continue
        default = value == info.default
        yield Fact(
            "Scenario", info.title, value, info.unit if info.unit != "share" else "",
            info.source if default else YOURS, info.as_of if default else None,
        )  # fmt: skip
