"""What does our traffic do to the bill?"""

import streamlit as st

from cpi_model import ui

scenario = ui.frame("Scaling", "What does our traffic do to the bill?")
answer = ui.answer(scenario)
ui.subject(answer)
ui.traffic_and_policy(scenario)
found = ui.under_traffic(answer)
ui.leave_others(found)
if found is not None:
    ui.traffic_headline(found)
    ui.unlike_estimate(found)
    ui.replicas_over_time(found)
    left, right = st.columns([3, 2], gap="large")
    with left:
        compared = ui.policies(found)
    with right:
        ui.paid_for(found)
        followed = ui.how_sure(found)
    more = ui.bursts_and_growth(found)
    ui.zero_or_on(found)
    ui.notes(answer)
    ui.why(answer)
    ui.refine(compared, more, followed)
