"""Tables of everything that is known, with source and age."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import streamlit as st

from cpi_model.catalog import catalog
from cpi_model.studies import listing
from cpi_model.ui import draw

if TYPE_CHECKING:
    import pandas as pd


def catalog_tables() -> None:
    """Everything that is known, with source and age; only the open tab is drawn."""
    today = date.today()
    for name, tab in zip(
        listing.TABLES,
        st.tabs(list(listing.TABLES), key="catalog_tab", on_change="rerun"),
        strict=True,
    ):
        if tab.open:
            with tab:
                _catalog_table(name, today)


@lru_cache(maxsize=2 * len(listing.TABLES))
def _listed(name: str, today: date) -> pd.DataFrame:
    return listing.table(name, catalog(), today)


def _catalog_table(name: str, today: date) -> None:
    whole = _listed(name, today)
    words = st.text_input(
        "Search", key=f"search_{name}", placeholder="words that a row must have, such as nvidia 80",
        max_chars=100, live=True,
    )  # fmt: skip
    found = listing.matching(whole, words) if words.strip() else whole
    st.caption(f"{len(found):,} of {len(whole):,} rows; an empty cell is not known.")
    st.dataframe(
        found, hide_index=True, height=560, key=f"table_{name}",
        column_config=_columns(found), alt=f"{name}, with source and age of each figure",
    )  # fmt: skip
    draw.download("Download as CSV", found, f"{name.lower().replace(' ', '-')}.csv")


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Numbers with as many digits as they have, years without a comma."""
    columns: dict[str, Any] = {}
    for name in frame.select_dtypes("number").columns:
        form = "%d" if name == "Year" else "localized"
        columns[name] = st.column_config.NumberColumn(format=form)
    columns["Source"] = st.column_config.TextColumn(width="medium")
    return columns
