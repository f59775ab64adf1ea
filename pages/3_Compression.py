"""What do quantization, pruning, distillation and the like save, and what do they cost?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Compression", "What makes the model cheaper, and what does that cost?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.headline(answer)
ui.levers(scenario)
if answer.feasible:
    left, right = st.columns(2, gap="large")
    with left:
        ui.savings(answer)
    with right:
        ui.quality(answer)
    ui.student(answer)
    ui.precision_table(answer)
ui.notes(answer)
ui.why(answer)
