"""The least that a page of this kind can cost: as many controls and figures, and no chart.

What remains is Streamlit's own round trip: the floor that the app is measured against. It knows
nothing of cpi_model. A test counts controls and figures of both.
"""

from __future__ import annotations

import streamlit as st

FIGURES = 10
GROUPS = 9

st.set_page_config(page_title="Floor", layout="wide")
with st.sidebar:
    for preset in range(3):
        st.button(f"Preset {preset}", help="What it is", width="stretch")
    for choice in range(3):
        st.selectbox(f"Choice {choice}", ["first", "second", "third"], help="What it means")
    concurrency = st.select_slider("Concurrency", range(1, 513), 32, help="What it means")
    for number in range(4):
        st.number_input(f"Number {number}", 1, 10_000, 100)
    for number in range(3):
        st.select_slider(f"Slider {number}", range(1, 101), 50, help="What it means")
    for group in range(GROUPS):
        st.expander(f"Group {group}", key=f"group_{group}", on_change="rerun")
    st.button("Reset", type="tertiary")
st.title("Floor", anchor=False)
st.caption("What it answers")
st.popover("Copy link", key="link", on_change="rerun")
st.popover("Export", key="export", on_change="rerun")
with st.grid(5, min_column_width=172, gap=10):
    for figure in range(1, FIGURES + 1):
        st.metric(
            f"Figure {figure}", concurrency * figure, f"{concurrency} likely", border=True,
            help="What it means", delta_color="off", delta_arrow="off",
        )  # fmt: skip
for section in range(3):
    st.expander(f"Section {section}", key=f"section_{section}", on_change="rerun")
