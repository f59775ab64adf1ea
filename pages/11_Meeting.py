"""What does it cost, why, and what should we change next: to be read from afar."""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Meeting", "What does it cost, why, and what next?", sidebar=False)
told = ui.told(scenario)
ui.subject(told.answer)
left, right = st.columns(2, gap="large")
with left:
    ui.cost_in_large(told)
with right:
    ui.now_and_next(told)
ui.sentences_in_large(told)
ui.make_the_change(told)
ui.other_changes(told)
