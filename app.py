"""What does one inference cost, and what moves it?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("What-if", "What does one inference cost, and what moves it?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.headline(answer)
curves, parts = st.columns([3, 2], gap="large")
with curves:
    ui.against_concurrency(answer)
with parts:
    ui.breakdown(answer)
    ui.memory(answer)
ui.notes(answer)
ui.why(answer)
