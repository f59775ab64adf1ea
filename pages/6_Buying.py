"""How should we pay for it: by the hour, committed, owned, by the call, or somewhere else?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Buying", "How should we pay for it?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.ways_in_short(answer)
if answer.feasible:
    ui.ways_against_volume(answer)
    left, right = st.columns(2, gap="large")
    with left:
        ui.best_mix(answer)
    with right:
        ui.cash_view(answer)
    ui.ways_table(answer)
    ui.prices_and_assumptions(answer)
    ui.ways_assume(answer)
ui.notes(answer)
