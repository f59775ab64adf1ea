"""Everything that is drawn with Streamlit: one module for what a page shows, one for its frame.

Pages call the functions named here and compute nothing.
"""

from cpi_model.ui.background import refine
from cpi_model.ui.batching import (
    limit_costs,
    modes,
    places,
    throughput_latency,
    under_load,
)
from cpi_model.ui.buying import (
    best_mix,
    cash_view,
    prices_and_assumptions,
    ways_against_volume,
    ways_assume,
    ways_in_short,
    ways_table,
)
from cpi_model.ui.catalog import catalog_tables
from cpi_model.ui.compare import (
    beside,
    change_by_change,
    compared,
    differing,
    export_all,
    pins,
    results,
    verdicts,
)
from cpi_model.ui.compression import levers, precision_table, quality, savings, student
from cpi_model.ui.fleet import fleet
from cpi_model.ui.frame import PAGES, PRESETS, frame
from cpi_model.ui.hardware import (
    against_load,
    cheapest,
    front,
    left_out,
    limits,
    ranking,
    roofline,
    search,
    side_by_side,
)
from cpi_model.ui.hardware import table as hardware_table
from cpi_model.ui.library import save_scenario, saved_scenario, saved_scenarios
from cpi_model.ui.meeting import (
    cost_in_large,
    make_the_change,
    now_and_next,
    other_changes,
    sentences_in_large,
    told,
)
from cpi_model.ui.scaling import (
    bursts_and_growth,
    how_sure,
    leave_others,
    paid_for,
    policies,
    replicas_over_time,
    traffic_and_policy,
    traffic_headline,
    under_traffic,
    unlike_estimate,
    zero_or_on,
)
from cpi_model.ui.sensitivity import strongest
from cpi_model.ui.trust import (
    errors_of_this_kind,
    measured_runs,
    never_measured,
    own_measurements,
)
from cpi_model.ui.waste import (
    waste_bridge,
    waste_findings,
    waste_in_short,
    waste_settings,
    waste_table,
)
from cpi_model.ui.whatif import (
    against_concurrency,
    all_costs,
    answer,
    headline,
    notes,
    parts,
    subject,
    why,
)

__all__ = [
    "PAGES", "PRESETS", "against_concurrency", "against_load", "all_costs", "answer", "beside",
    "best_mix", "bursts_and_growth", "cash_view", "catalog_tables", "change_by_change", "cheapest",
    "compared", "cost_in_large", "differing", "errors_of_this_kind", "export_all", "fleet",
    "frame", "front", "hardware_table", "headline", "how_sure", "leave_others", "left_out",
    "levers", "limit_costs", "limits", "make_the_change", "measured_runs", "modes",
    "never_measured", "notes", "now_and_next", "other_changes", "own_measurements", "paid_for",
    "parts", "pins", "places", "policies", "precision_table", "prices_and_assumptions", "quality",
    "ranking", "refine", "replicas_over_time", "results", "roofline", "save_scenario",
    "saved_scenario", "saved_scenarios", "savings", "search", "sentences_in_large", "side_by_side",
    "strongest", "student", "subject", "throughput_latency", "told", "traffic_and_policy",
    "traffic_headline", "under_load", "under_traffic", "unlike_estimate", "verdicts",
    "waste_bridge", "waste_findings", "waste_in_short", "waste_settings", "waste_table",
    "ways_against_volume", "ways_assume", "ways_in_short", "ways_table", "why", "zero_or_on",
]  # fmt: skip
