"""How every page begins: link, sidebar with the scenario, title."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from cpi_model.catalog import catalog
from cpi_model.scenario import FIELDS, GROUPS, FieldInfo, Scenario
from cpi_model.studies.options import plays_a_part
from cpi_model.ui import controls, draw, exporting, sign_in, state

COMPARE = "pages/9_Compare.py"
PAGES: tuple[tuple[str, str, str], ...] = (
    ("app.py", "What-if", ":material/tune:"),
    ("pages/11_Meeting.py", "Meeting", ":material/co_present:"),
    ("pages/5_Hardware.py", "Hardware", ":material/memory:"),
    ("pages/3_Compression.py", "Compression", ":material/compress:"),
    ("pages/4_Batching.py", "Batching", ":material/stacked_line_chart:"),
    ("pages/7_Scaling.py", "Scaling", ":material/monitoring:"),
    ("pages/6_Buying.py", "Buying", ":material/payments:"),
    ("pages/8_Waste.py", "Waste", ":material/delete_sweep:"),
    (COMPARE, "Compare", ":material/compare_arrows:"),
    ("pages/10_Library.py", "Library", ":material/bookmarks:"),
    ("pages/1_Catalog.py", "Catalog", ":material/menu_book:"),
    ("pages/2_Trust.py", "Trust", ":material/fact_check:"),
)
"""File, title and sign of every page, in the order of the sidebar."""

MEETING = "Meeting"

ESSENTIALS = (
    "model", "accelerator", "scheme", "requests_per_s", "items_per_request", "input_tokens",
    "output_tokens", "concurrency",
)  # fmt: skip
"""Fields that open the sidebar; every other one is in the section of its group."""
SECTIONS = {
    "workload": "Workload and limits", "model": "Versions", "compression": "Compression",
    "serving": "Serving", "hardware": "Instance", "price": "Price", "scaling": "Scaling",
    "overheads": "Overheads", "display": "Display",
}  # fmt: skip
SIDEBAR_WIDTH = 330
STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Preset:
    """A scenario to start from."""

    title: str
    icon: str
    help: str
    scenario: Scenario


PRESETS = (
    Preset(
        "Chat assistant", ":material/forum:",
        "Llama 3.1 70B in FP8 on two H100, 5 requests a second",
        Scenario(
            model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, requests_per_s=5.0,
            input_tokens=1200, output_tokens=300, cached_input_share=0.3, kv_precision="fp8",
        ),
    ),
    Preset(
        "Search ranking", ":material/search:",
        "BERT-large scores 50 texts for each query on one L4",
        Scenario(
            model="bert-large", engine="tensorrt", accelerator="l4", requests_per_s=20.0,
            items_per_request=50, input_tokens=128, concurrency=1, slo_latency_ms=500.0,
            request_kb=30.0, response_kb=1.0,
        ),
    ),
    Preset(
        "Fraud scoring", ":material/credit_card:",
        "Gradient-boosted trees on CPU, 500 payments a second",
        Scenario(
            model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
            requests_per_s=500.0, concurrency=8, slo_latency_ms=50.0, request_kb=2.0,
            response_kb=0.5, image_gb=1.0, log_kb_per_request=0.5, batch_wait_ms=2.0,
        ),
    ),
)  # fmt: skip


def frame(title: str, question: str, comparing: bool = False, sidebar: bool = True) -> Scenario:
    """Begin a page: link, sidebar with the scenario, title; then the link again.

    `comparing` puts what is compared into the address as well. Without a sidebar a page is for
    reading, and a link leads back to where the reader came from.
    """
    st.set_page_config(
        page_title=f"{title} · cost per inference",
        page_icon="💸",
        layout="wide",
        initial_sidebar_state=SIDEBAR_WIDTH if sidebar else "collapsed",
    )
    st.html(STYLE)
    if sign_in.needed():
        sign_in.ask()
        st.stop()
    session = st.session_state
    # The same key on another page is another widget, which would begin at its minimum.
    session["new_page"] = session.get("page") != title
    session["page"], session["comparing"] = title, comparing
    state.take_edits()
    state.read_link()
    if sidebar:
        session["came_from"] = title
        with st.sidebar:
            _sidebar()
    with st.container(gap=None):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.title(title, anchor=False)
            _there_or_back(sidebar)
            _take_along()
        # Below the buttons: beside them a phone has no room for a sentence.
        st.caption(question)
    state.write_link()
    if problems := session["link_problems"]:
        draw.sentences("Parts of the link were ignored; their defaults stand instead.", problems)
    _freeze()
    return state.current()


def _there_or_back(there: bool) -> None:
    """A link to the page for meetings, or from it."""
    wanted = MEETING if there else st.session_state.get("came_from", PAGES[0][1])
    file, title, sign = next(page for page in PAGES if page[1] == wanted)
    query = state.params(file == COMPARE)
    if there:
        st.page_link(file, label=title, icon=sign, query_params=query)
    else:
        st.page_link(
            file, label=f"Back to {title}", icon=":material/arrow_back:", query_params=query
        )


def _take_along() -> None:
    """What is on the screen, as an address and as files."""
    # Filled when it is opened: a box of code costs the browser as much as a chart's axis.
    address = st.popover("Copy link", icon=":material/link:", key="link", on_change="rerun")
    if address.open:
        with address:
            st.caption("Everything on the screen is in this address:")
            st.code(state.link(), language=None, wrap_lines=True)
    exporting.menu(state.current())


@st.cache_resource(show_spinner=False)
def _freeze() -> bool:
    """Take what is loaded out of garbage collection, which would stop every run for 80 ms."""
    gc.collect()
    gc.freeze()
    return True


def _sidebar() -> None:
    query = {comparing: state.params(comparing) for comparing in (False, True)}
    with st.container(gap="xxsmall"):
        for file, title, sign in PAGES:
            st.page_link(
                file, label=title, icon=sign, query_params=query[file == COMPARE], width="stretch"
            )
    with st.container(gap="xsmall"):
        st.caption("Start from")
        for preset in PRESETS:
            st.button(
                preset.title, icon=preset.icon, help=preset.help, width="stretch",
                on_click=state.start_from, args=(preset.scenario,),
            )  # fmt: skip
    scenario = state.current()
    rest: dict[str, list[FieldInfo]] = {group: [] for group in GROUPS}
    for name, info in FIELDS.items():
        if name not in ESSENTIALS and plays_a_part(name, scenario, catalog()):
            rest[info.group].append(info)
    for name in ESSENTIALS:
        if plays_a_part(name, scenario, catalog()):
            controls.control(FIELDS[name], scenario)
    for group, infos in rest.items():
        if infos:
            changed = sum(getattr(scenario, info.name) != info.default for info in infos)
            mark = f" · {changed} changed" if changed else ""
            section = st.expander(
                SECTIONS[group] + mark, key=f"section_{group}", on_change="rerun"
            )  # fmt: skip
            # Fifty closed controls would be half of what a run costs.
            if section.open:
                with section:
                    for info in infos:
                        controls.control(info, scenario)
    sign_in.sign_out()
    st.button(
        "Reset everything", icon=":material/restart_alt:", type="tertiary",
        on_click=state.put, args=(Scenario(),),
    )  # fmt: skip
