"""Where on the throughput-latency curve should we run?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Batching", "Where on the throughput-latency curve should we run?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.headline(answer)
wide, narrow = st.columns([3, 2], gap="large")
with wide:
    ui.throughput_latency(answer)
with narrow:
    ui.places(answer)
left, right = st.columns([3, 2], gap="large")
with left:
    awaited = ui.under_load(answer)
with right:
    ui.limit_costs(answer)
ui.modes(answer)
ui.notes(answer)
ui.why(answer)
ui.refine(awaited)
