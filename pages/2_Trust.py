"""How far are the estimates from what was measured?"""

from cpi_model import ui

scenario = ui.frame("Trust", "How far are the estimates from what was measured?")
ui.errors_of_this_kind(scenario)
ui.measured_runs(scenario)
ui.never_measured()
ui.own_measurements(scenario)
