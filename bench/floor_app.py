"""The least that a page of this kind can cost: as many controls and figures, and no chart.

What remains is Streamlit's own round trip with some fifty widgets, the floor that the app is
measured against. It knows nothing of cpi_model.
"""

from __future__ import annotations

import streamlit as st

st.set_page_config(page_title="Floor", layout="wide")
with st.sidebar:
    concurrency = st.slider("Concurrency", 1, 512, 32)
    for group in range(7):
        with st.expander(f"Group {group}"):
            for number in range(3):
                st.number_input(f"Number {group}.{number}", 1, 10_000, 100)
            for choice in range(2):
                st.selectbox(f"Choice {group}.{choice}", ["first", "second", "third"])
            for switch in range(2):
                st.toggle(f"Switch {group}.{switch}")
for column, factor in zip(st.columns(4), (1, 2, 3, 4), strict=True):
    column.metric(f"Figure {factor}", concurrency * factor)
