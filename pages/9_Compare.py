"""What changed between these scenarios: up to four beside each other, and why they differ."""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Compare", "What changed between these scenarios?", comparing=True)
found = ui.compared(scenario)
ui.pins(found, scenario)
if len(found) > 1:
    ui.verdicts(found, scenario)
    left, right = st.columns(2, gap="large")
    with left:
        ui.beside(found, scenario)
    with right:
        ui.change_by_change(found, scenario)
    ui.results(found, scenario)
    ui.differing(found)
    ui.export_all(found)
