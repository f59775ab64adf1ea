"""What each list of choices offers in a scenario, and what does not go with the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cpi_model.catalog import Catalog, offers
from cpi_model.inputs import ALTERNATIVES, engine_runs_on, engine_serves, parameters
from cpi_model.scenario import FIELDS, Scenario

CLASSES = {
    "llm": "language model", "encoder": "text encoder", "vision": "vision",
    "diffusion": "image generation", "speech": "speech", "recommender": "recommender",
    "trees": "decision trees",
}  # fmt: skip
KINDS = {"gpu": "GPU", "tpu": "TPU", "asic": "ASIC", "cpu": "CPU", "edge": "edge"}
TOKENS_ONLY = {
    "output_tokens", "cached_input_share", "slo_ttft_ms", "slo_tpot_ms", "kv_precision",
    "first_token_correction", "draft_model", "draft_tokens", "acceptance", "output_cv",
}  # fmt: skip
DOUBLING = {"devices", "stages", "copies", "groups"}
"""Units of counts that come in powers of two."""
DEVICES = {"tensor_parallel", "pipeline_parallel", "data_parallel"}
SAMPLES_ONLY = {"items_per_request", "work_scale"}
COMPARING = {
    "quality_floor", "small_quality", "exit_quality", "hit_quality", "student_quality",
}  # fmt: skip
"""What compression is judged by; the Compression page asks for it."""
SEARCHING = {
    "slo_share", "max_devices", "max_carbon_g", "purchases", "max_usd_per_month", "cheapest_by",
}  # fmt: skip
"""What the search for hardware may offer; the Hardware page asks for it."""

BUYING = {
    "spot_limit_share", "quiet_to_mean", "device_purchase_usd", "owned_years", "resale_share",
    "server_price_share", "server_power_share", "electricity_usd_per_kwh",
    "space_usd_per_kw_month", "staff_usd_per_device_year", "failures_per_year",
    "serverless_usd_per_hour", "serverless_cold_s", "serverless_idle_s", "serverless_minimum_s",
    "api_input_usd_per_mtok", "api_output_usd_per_mtok", "api_batch_share", "edge_devices",
    "edge_update_gb_per_month", "edge_cloud_share",
}  # fmt: skip
"""What other ways of paying cost; the Buying page asks for it."""
TRAFFIC = {
    "traffic", "daily_swing", "peak_hour", "weekend_to_weekday", "minute_cv", "burst_minutes",
    "spikes_per_week", "spike_height", "spike_minutes", "traffic_seed", "monthly_growth",
    "monthly_growth_low", "monthly_growth_high",
}  # fmt: skip
"""Traffic over time; the Scaling page asks for it."""
SCALING = {
    "policy", "policy_target", "max_replicas", "stabilisation_s", "policy_tolerance", "cooldown_s",
    "scale_out_cooldown_s", "forecast_headroom_share", "schedule_hours", "node_start_s",
    "image_gb_per_s", "weights_gb_per_s", "engine_start_s", "queue_limit", "queue_timeout_s",
}  # fmt: skip
"""What moves replicas in a simulation of traffic; the Scaling page asks for it."""
OF_THE_SHAPE = TRAFFIC - {
    "traffic", "monthly_growth", "monthly_growth_low", "monthly_growth_high",
}  # fmt: skip
"""Figures that traffic is made of where none is recorded."""
COUNTING = {"none", "hpa", "keda", "kpa", "tracking", "schedule", "predictive"}
"""Policies that count replicas."""
OF_THE_POLICY = {
    "policy_target": COUNTING, "min_replicas": COUNTING, "max_replicas": COUNTING,
    "queue_limit": COUNTING, "queue_timeout_s": COUNTING,
    "stabilisation_s": {"hpa", "keda"},
    "policy_tolerance": {"hpa", "keda", "tracking"},
    "cooldown_s": {"keda", "tracking"},
    "scale_out_cooldown_s": {"tracking"},
    "forecast_headroom_share": {"predictive"},
    "schedule_hours": {"schedule"},
    "node_start_s": COUNTING, "image_gb": COUNTING, "image_gb_per_s": COUNTING,
    "weights_gb_per_s": COUNTING, "engine_start_s": COUNTING,
    "serverless_usd_per_hour": {"serverless"}, "serverless_cold_s": {"serverless"},
    "serverless_idle_s": {"serverless"}, "serverless_minimum_s": {"serverless"},
}  # fmt: skip
"""Fields of the simulation of traffic, by the policies that they play a part in."""
ELSEWHERE = COMPARING | SEARCHING | BUYING | TRAFFIC | SCALING
"""What moves no figure of the estimate itself."""


@dataclass(frozen=True)
class Option:
    """One choice of a list."""

    id: str
    label: str
    problem: str = ""
    """Why it does not go with the rest of the scenario; empty where it does."""


def options(field: str, scenario: Scenario, catalog: Catalog) -> list[Option]:
    """Choices of a field by id: what works first, and always the one that is chosen."""
    found = sorted(OFFERED[field](scenario, catalog), key=lambda option: option.problem != "")
    value = getattr(scenario, field)
    if all(option.id != value for option in found):
        found.append(Option(value, value, "not in the catalog"))
    return found


def plays_a_part(field: str, scenario: Scenario, catalog: Catalog) -> bool:
    """Whether a field can move any figure of this scenario."""
    model = catalog.models.get(scenario.model)
    chip = catalog.accelerators.get(scenario.accelerator)
    tokens = model is None or model.transformer is not None
    if field in ELSEWHERE:
        return False
    if field in ("draft_tokens", "acceptance"):
        return tokens and scenario.draft_model != "none"
    if field in TOKENS_ONLY:
        return tokens
    if field in DEVICES:
        return tokens and (chip is None or chip.kind != "cpu")
    if field == "expert_parallel":
        return scenario.expert_parallel > 1 or (
            model is not None and model.transformer is not None and model.transformer.experts > 0
        )
    if field in SAMPLES_ONLY:
        return not tokens
    if field == "input_tokens":
        return tokens or (
            model is not None and model.sample is not None and model.sample.reference_tokens > 0
        )
    committed = scenario.purchase in ("reserved_1y", "reserved_3y")
    spot, interrupted = (
        scenario.purchase == "spot",
        scenario.spot_interruptions_per_month is not None,
    )
    trained = scenario.student != "none"
    foreign = scenario.currency != FIELDS["currency"].default
    way = scenario.batching
    conditions = {
        "batch_wait_ms": way == "dynamic" if tokens else way != "static",
        "prefill_chunk_tokens": tokens and way in ("continuous", "disaggregated"),
        "prefill_replicas": tokens and way == "disaggregated",
        "spot_overhead_share": spot and not interrupted,
        "spot_interruptions_per_month": spot,
        "spot_restart_minutes": spot and interrupted,
        "spot_lost_minutes": spot and interrupted,
        "spot_fallback_share": spot,
        "unused_commitment_share": committed,
        "old_traffic_share": scenario.live_versions > 1 and scenario.scaling != "fixed",
        "old_min_replicas": scenario.live_versions > 1 and scenario.scaling != "fixed",
        "fixed_replicas": scenario.scaling == "fixed",
        "min_replicas": scenario.scaling != "fixed",
        "spare_replicas": scenario.scaling != "fixed",
        "target_utilisation": scenario.scaling != "fixed" or not tokens,
        "scaling_lag_share": scenario.scaling == "follow",
        "cloud": scenario.instance == "auto",
        "zero_share": scenario.sparsity == "unstructured",
        "student_ratio": scenario.student == "ratio",
        "training_requests": trained,
        "training_epochs": trained,
        "training_utilisation": trained,
        "training_usd_per_device_hour": trained,
        "teacher_usd_per_request": trained,
        # What the teacher is served with, where its answers are not bought.
        "compared_scheme": trained and scenario.teacher_usd_per_request is None,
        "compared_engine": trained and scenario.teacher_usd_per_request is None,
        "training_months": trained,
        "exit_depth": scenario.exit_share > 0.0,
        "escalated_share": scenario.cascade_model != "none",
        "lookup_ms": scenario.answer_hit_share > 0.0,
        "lookup_usd_per_million": scenario.answer_hit_share > 0.0,
        "currency_per_usd": foreign or scenario.currency_per_usd != 1.0,
    }
    return conditions.get(field, True)


def moves_traffic(field: str, scenario: Scenario) -> bool:
    """Whether a field of the traffic or of its policy can move any figure of the simulation."""
    if field in OF_THE_SHAPE:
        shaped = scenario.traffic in ALTERNATIVES["traffic"]
        of = {
            "peak_hour": "daily_swing", "burst_minutes": "minute_cv",
            "spike_height": "spikes_per_week", "spike_minutes": "spikes_per_week",
        }  # fmt: skip
        return field == "traffic_seed" or (
            shaped and (field not in of or getattr(scenario, of[field]) > 0.0)
        )
    if field == "policy_target" and scenario.policy == "none":
        return scenario.scaling != "fixed"
    return field not in OF_THE_POLICY or scenario.policy in OF_THE_POLICY[field]


def _models(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    order = list(CLASSES)
    for model in sorted(
        catalog.models.values(),
        key=lambda model: (order.index(model.model_class), model.name.casefold()),
    ):
        yield Option(model.id, f"{model.name} · {CLASSES[model.model_class]}")


def _priced(scenario: Scenario, chip: str, catalog: Catalog) -> bool:
    """Whether a price is known in the clouds and regions of a scenario, or is the user's own."""
    if scenario.device_price_usd_per_hour is not None:
        return True
    return bool(offers(catalog, chip, scenario.purchase, scenario.clouds, scenario.regions))


def _accelerators(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    engine, model = catalog.engines.get(scenario.engine), catalog.models.get(scenario.model)
    order = list(KINDS)
    for chip in sorted(
        catalog.accelerators.values(),
        key=lambda chip: (order.index(chip.kind), chip.vendor != "NVIDIA", chip.vendor, -chip.year),
    ):
        memory = f", {chip.memory_gb:g} GB" if chip.memory_gb else ""
        problem = ""
        if not chip.memory_bandwidth_gb_per_s or not chip.dense_tflops:
            problem = "figures not published"
        elif scenario.instance != "auto":
            named = catalog.instances.get(scenario.instance)
            problem = "" if named and named.accelerator == chip.id else f"not {scenario.instance}"
        elif not _priced(scenario, chip.id, catalog):
            problem = f"no {scenario.purchase.replace('_', ' ')} price"
            problem += "" if scenario.cloud == scenario.region == "any" else " there"
        elif engine and not engine_runs_on(engine, chip):
            problem = f"not with {engine.name}"
        elif engine and model and chip.memory_gb is None and chip.kind != "cpu":
            problem = "memory not published"
        yield Option(chip.id, f"{chip.name} · {KINDS[chip.kind]}{memory}", problem)


def _schemes(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    engine, model = catalog.engines.get(scenario.engine), catalog.models.get(scenario.model)
    chip = catalog.accelerators.get(scenario.accelerator)
    for scheme in sorted(catalog.schemes.values(), key=lambda scheme: -scheme.weight_bits):
        problem = ""
        if engine and scheme.id not in engine.schemes:
            problem = f"not with {engine.name}"
        elif (
            model and scheme.experts_only and not (model.transformer and model.transformer.experts)
        ):
            problem = "this model has no experts"
        elif chip and scheme.arithmetic not in chip.dense_tflops and not scheme.weight_only:
            yield Option(scheme.id, f"{scheme.name} · wider arithmetic on this chip")
            continue
        yield Option(scheme.id, scheme.name, problem)


def _engines(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    model = catalog.models.get(scenario.model)
    chip = catalog.accelerators.get(scenario.accelerator)
    scheme = catalog.schemes.get(scenario.scheme)
    for engine in sorted(catalog.engines.values(), key=lambda engine: engine.name.casefold()):
        problem = ""
        if model and model.model_class not in engine.model_classes:
            problem = f"not for {CLASSES[model.model_class]}"
        elif model and chip:
            if not engine_runs_on(engine, chip):
                problem = f"not on {chip.name}"
            elif scheme and engine_serves(engine, model, chip, scheme):
                problem = f"not with {scheme.name}"
        yield Option(engine.id, engine.name, problem)


NO_MODEL = {
    "none": "None", "ratio": "Same design, smaller", "ngram": "Text found in the prompt",
    "head": "One more layer of the model (EAGLE, MTP)", "same": "The engine that is chosen",
    "native": "As the model comes", "shape": "Figures below",
}  # fmt: skip
"""What the alternatives to a name of the catalog are called."""


def _smaller(field: str) -> Callable[[Scenario, Catalog], Iterable[Option]]:
    """Models of the same class that are smaller than the one that is named, the largest first."""

    def offered(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
        yield from (Option(id, NO_MODEL[id]) for id in ALTERNATIVES[field])
        named = catalog.models.get(scenario.model)
        if named is None:
            return
        size = parameters(named).active
        draft = field == "draft_model"
        for model in sorted(catalog.models.values(), key=lambda model: -parameters(model).active):
            if model.model_class != named.model_class or parameters(model).active >= size:
                continue
            if draft and (model.transformer is None or model.transformer.experts):
                continue
            yield Option(model.id, f"{model.name} · {model.params_b:,.3g} B")

    return offered


def _compared_schemes(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    yield Option("native", NO_MODEL["native"])
    yield from _schemes(scenario, catalog)


def _compared_engines(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    yield Option("same", NO_MODEL["same"])
    scheme = {"scheme": scenario.compared_scheme}
    yield from _engines(scenario.model_copy(update=scheme), catalog)


def _instances(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    yield Option("auto", "Cheapest with this chip")
    cheapest: dict[str, float] = {}
    # An owned node is no offer, so it is asked for by the name of its cloud.
    owned = {i.cloud for i in catalog.instances.values() if i.tenure == "owned"}
    for clouds in (None, owned):
        if scenario.accelerator in catalog.accelerators:
            for offer in offers(
                catalog, scenario.accelerator, scenario.purchase, clouds, scenario.regions
            ):
                cheapest.setdefault(offer.instance.id, offer.price.usd_per_hour)
    for instance in catalog.instances_of.get(scenario.accelerator, ()):
        price = cheapest.get(instance.id)
        label = f"{instance.id} · {instance.accelerator_count:g} ×"
        if price is None and scenario.device_price_usd_per_hour is not None:
            yield Option(instance.id, label)
        elif price is None:
            yield Option(instance.id, label, f"no {scenario.purchase.replace('_', ' ')} price")
        else:
            yield Option(instance.id, f"{label} · from ${price:,.3g}/h")


def _clouds(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    yield Option("any", "Any")
    known = scenario.accelerator in catalog.accelerators
    for cloud in sorted({instance.cloud for instance in catalog.instances.values()}):
        there = scenario.model_copy(update={"cloud": cloud})
        sold = known and _priced(there, scenario.accelerator, catalog)
        yield Option(cloud, cloud, "" if sold else "not with this chip")


def _traffic(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    yield from (Option(id, NO_MODEL[id]) for id in ALTERNATIVES["traffic"])
    for trace in catalog.traffic.values():
        yield Option(trace.id, f"{trace.name} · {trace.character.lower()}")


def _regions(scenario: Scenario, catalog: Catalog) -> Iterable[Option]:
    yield Option("any", "Any")
    regions = {
        price.region
        for instance in catalog.instances_of.get(scenario.accelerator, ())
        if scenario.clouds is None or instance.cloud in scenario.clouds
        if scenario.instance in ("auto", instance.id)
        for price in catalog.prices_of.get(instance.id, ())
        if price.purchase == scenario.purchase
    }
    yield from (Option(region, region) for region in sorted(regions))


OFFERED: dict[str, Callable[[Scenario, Catalog], Iterable[Option]]] = {
    "model": _models,
    "accelerator": _accelerators,
    "scheme": _schemes,
    "engine": _engines,
    "instance": _instances,
    "cloud": _clouds,
    "region": _regions,
    "student": _smaller("student"),
    "draft_model": _smaller("draft_model"),
    "cascade_model": _smaller("cascade_model"),
    "compared_scheme": _compared_schemes,
    "compared_engine": _compared_engines,
    "traffic": _traffic,
}
"""Fields whose choices come from the catalog."""
DECIDING = (*OFFERED, "purchase", "device_price_usd_per_hour")
"""Fields on which any of the choices depend."""
