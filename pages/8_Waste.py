"""What are we paying for nothing: idle time, headroom, copies, old versions, unused commitment?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Waste", "What are we paying for nothing?")
what_if, own = st.tabs(["This scenario", "A fleet from a file"], key="waste_tab", on_change="rerun")
if what_if.open:
    with what_if:
        answer = ui.answer(scenario)
        ui.subject(answer)
        ui.waste_in_short(answer)
        left, right = st.columns(2, gap="large")
        with left:
            ui.waste_bridge(answer)
        with right:
            ui.waste_settings(answer)
        ui.waste_findings(answer)
        ui.waste_table(answer)
        ui.notes(answer)
        ui.why(answer)
if own.open:
    with own:
        ui.fleet(scenario)
