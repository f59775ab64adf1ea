"""Tables to Plotly figures. Nothing is computed here but where things stand on the screen."""

from cpi_model.charts.base import DARK, LIGHT, Figure, Palette, stack
from cpi_model.charts.batching import (
    delays,
    describe_curve,
    describe_delays,
    describe_limit_costs,
    limit_costs,
    throughput_latency,
)
from cpi_model.charts.buying import (
    cash,
    describe_cash,
    describe_load,
    describe_volumes,
    load_duration,
    volumes,
)
from cpi_model.charts.compression import (
    break_even,
    bridge,
    describe_break_even,
    describe_bridge,
    describe_qualities,
    describe_speedups,
    quality_against_cost,
    speedups,
)
from cpi_model.charts.hardware import (
    KIND_WORDS,
    configuration_text,
    cost_against_latency,
    cost_against_load,
    describe_front,
    describe_load,
    describe_ranking,
    describe_roofline,
    ranking,
    roofline,
)
from cpi_model.charts.trust import (
    MOST_BARS,
    describe_errors,
    describe_scatter,
    errors_by_group,
    measured_text,
    predicted_against_measured,
)
from cpi_model.charts.whatif import (
    against_concurrency,
    cost_breakdown,
    describe_breakdown,
    describe_curves,
    describe_memory,
    memory,
)

__all__ = [
    "DARK", "Figure", "KIND_WORDS", "LIGHT", "MOST_BARS", "Palette", "against_concurrency", "break_even", "bridge", "cash", "configuration_text", "cost_against_latency", "cost_against_load", "cost_breakdown", "delays", "describe_break_even", "describe_breakdown", "describe_bridge", "describe_cash", "describe_curve", "describe_curves", "describe_delays", "describe_errors", "describe_front", "describe_limit_costs", "describe_load", "describe_memory", "describe_qualities", "describe_ranking", "describe_roofline", "describe_scatter", "describe_speedups", "describe_volumes", "errors_by_group", "limit_costs", "load_duration", "measured_text", "memory", "predicted_against_measured", "quality_against_cost", "ranking", "roofline", "speedups", "stack", "throughput_latency", "volumes",
]  # fmt: skip
