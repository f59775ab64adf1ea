"""Which hardware is cheapest for this workload under these limits?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Hardware", "Which hardware is cheapest for this workload under these limits?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.headline(answer)
ui.limits(scenario)
found = ui.search(scenario)
if found is not None:
    ui.cheapest(found, answer)
    if found.ranked:
        left, right = st.columns(2, gap="large")
        with left:
            ui.ranking(found, scenario)
        with right:
            ui.front(found, answer)
            ui.roofline(found, scenario)
        ui.against_load(found, scenario)
        ui.hardware_table(found, scenario)
        ui.side_by_side(found, scenario)
    ui.left_out(found)
ui.notes(answer)
ui.why(answer)
