"""What does it cost, why, and what should we change next: to be read from afar."""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Meeting", "What does it cost, why, and what next?", sidebar=False)
told = ui.told(scenario)
ui.subject(told.answer)
wide, narrow = st.columns([3, 2], gap="large")
with wide:
    ui.cost_in_large(told)
    ui.sentences_in_large(told)
    ui.make_the_change(told)
with narrow:
    ui.now_and_next(told)
ui.other_changes(told)
