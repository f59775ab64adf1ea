"""What does one inference cost, and what moves it?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("What-if", "What does one inference cost, and what moves it?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.headline(answer)
wide, narrow = st.columns([3, 2], gap="large")
with wide:
    ui.against_concurrency(answer)
with narrow:
    ui.parts(answer)
ui.strongest(answer)
ui.notes(answer)
ui.all_costs(answer)
ui.why(answer)
