"""The pages without a browser: each runs, shows what the model says, and keeps what was chosen."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.export import files, money, percent
from cpi_model.inputs import OLD_PRICE_DAYS, choose
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import buying, compression, optimise
from cpi_model.studies.answer import answer
from cpi_model.ui import PAGES, PRESETS, controls
from cpi_model.units import MILLION, MONTH

ROOT = Path(__file__).resolve().parent.parent
CATALOG = "pages/1_Catalog.py"
COMPRESSION = "pages/3_Compression.py"
HARDWARE = "pages/5_Hardware.py"
BUYING = "pages/6_Buying.py"
MANY = Scenario(
    model="llama-3.1-70b", tensor_parallel=2, scheme="fp8", kv_precision="fp8", draft_model="head",
    cascade_model="llama-3.1-8b", student="ratio", requests_per_s=50.0, exit_share=0.1,
)  # fmt: skip
"""Many levers of compression at once."""


def app(query: str = "", page: str = "app.py") -> AppTest:
    """The app after its first run, opened with a link."""
    opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    for key, value in links.to_params(Scenario()).items() if not query else _pairs(query):
        opened.query_params[key] = value
    if page != "app.py":
        opened.switch_page(page)
    opened.run()
    assert not opened.exception
    return opened


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (pair.partition("=") for pair in query.split("&"))]


def figures(opened: AppTest) -> dict[str, str]:
    """The headline by its labels."""
    return {metric.label: metric.value for metric in opened.metric}


def scenario(opened: AppTest) -> Scenario:
    """What the session holds."""
    kept = opened.session_state["scenario"]
    assert isinstance(kept, Scenario)
    return kept


def texts(opened: AppTest) -> str:
    """Everything that is written on the page."""
    return "\n".join(element.value for element in [*opened.text, *opened.markdown, *opened.caption])


@pytest.mark.parametrize("name", [name for name, info in FIELDS.items() if info.log])
def test_every_slider_has_marks_from_its_least_to_its_most(name: str) -> None:
    info = FIELDS[name]
    marks = controls._grid(info)
    assert list(marks) == sorted(set(marks)) and marks[0] == info.minimum
    assert marks[-1] <= (info.maximum or 0.0) < 2.5 * marks[-1]


def slide(opened: AppTest, field: str, value: object) -> None:
    """Move the slider of a field."""
    opened.select_slider(key=f"w_{field}").set_value(value).run()
    assert not opened.exception


def test_several_clouds_are_chosen_from_a_list_and_none_means_any() -> None:
    opened = app("v=1&cl=aws,gcp", "pages/5_Hardware.py")
    opened.session_state["limits"] = True
    opened.run()
    (box,) = [each for each in opened.multiselect if each.label == "Clouds"]
    assert box.value == ["aws", "gcp"]
    box.set_value(["gcp"]).run()
    assert not opened.exception and scenario(opened).cloud == "gcp"
    (box,) = [each for each in opened.multiselect if each.label == "Clouds"]
    box.set_value([]).run()
    assert not opened.exception and scenario(opened).cloud == "any"
    assert opened.query_params.get("cl") is None


@pytest.mark.parametrize("page", [page for page, _, _ in PAGES])
def test_every_page_runs_from_a_deep_link_and_keeps_it(page: str) -> None:
    opened = app("v=1&m=llama-3.1-70b&tp=4&c=64", page)
    assert scenario(opened) == Scenario(
        model="llama-3.1-70b", tensor_parallel=4, concurrency=64
    )  # fmt: skip
    assert opened.title[0].value in {title for _, title, _ in PAGES}


@pytest.mark.parametrize(
    "given",
    [Scenario(), Scenario(cost_basis="marginal", period="year"), *(p.scenario for p in PRESETS)],
    ids=["default", "marginal", *(preset.title for preset in PRESETS)],
)
def test_the_headline_is_what_the_model_says(given: Scenario) -> None:
    opened = app(links.encode(given))
    estimate = answer(given, catalog()).estimate
    assert estimate is not None and estimate.feasible
    cost = (
        estimate.marginal_cost_per_inference
        if given.cost_basis == "marginal"
        else estimate.cost_per_inference
    )
    shown = figures(opened)
    assert shown["Cost per inference"] == money(float(cost), given)
    assert shown["Per million inferences"] == money(float(cost) * MILLION, given)
    assert shown["Utilisation"] == percent(float(estimate.utilisation))
    if given.period == "month":
        assert shown["Cost per month"] == money(float(estimate.cost_rate) * MONTH, given)
    assert len(opened.get("plotly_chart")) == 2


def test_500_usd_a_day_over_a_million_requests_is_on_the_screen() -> None:
    # One instance of 8 devices at 500/24/8 USD an hour, one million requests a day, nothing else.
    exact = Scenario(
        requests_per_s=1_000_000 / 86_400, peak_to_mean=1, success_share=1, scaling="fixed",
        fixed_replicas=8, device_price_usd_per_hour=500 / 24 / 8, instance="auto",
        concurrency=64, stored_versions=1, storage_usd_per_gb_month=0,
        object_storage_usd_per_gb_month=0, log_usd_per_gb=0, egress_usd_per_gb=0,
        cross_zone_usd_per_gb=0, load_balancer_usd_per_hour=0, load_balancer_usd_per_gb=0,
        control_plane_usd_per_hour=0, monitoring_usd_per_instance_month=0, platform_share=0,
        on_call_usd_per_month=0,
    )  # fmt: skip
    assert figures(app(links.encode(exact)))["Cost per inference"] == "$0.0005"


def test_a_slider_moves_the_figures_and_the_link_at_once() -> None:
    opened = app()
    before = figures(opened)
    slide(opened, "concurrency", 64)
    assert scenario(opened).concurrency == 64
    assert figures(opened) != before
    assert opened.query_params["c"] == "64"
    expected = answer(Scenario(concurrency=64), catalog()).estimate
    assert expected is not None
    assert figures(opened)["Cost per inference"] == money(
        float(expected.cost_per_inference), Scenario()
    )


def test_a_choice_survives_two_more_changes_and_a_change_of_page() -> None:
    opened = app()
    slide(opened, "concurrency", 128)
    slide(opened, "input_tokens", 2000)
    opened.selectbox(key="w_scheme").set_value("fp8").run()
    wanted = Scenario(concurrency=128, input_tokens=2000, scheme="fp8")
    assert scenario(opened) == wanted
    opened.switch_page(CATALOG).run()
    assert scenario(opened) == wanted
    opened.switch_page("app.py").run()
    assert not opened.exception
    assert scenario(opened) == wanted
    assert opened.select_slider(key="w_concurrency").value == 128
    assert opened.selectbox(key="w_scheme").value == "fp8"


def test_every_preset_works_and_keeps_the_currency() -> None:
    for preset in PRESETS:
        opened = app("v=1&cur=EUR&fx=0.9")
        next(button for button in opened.button if button.label == preset.title).click().run()
        assert not opened.exception
        assert scenario(opened) == preset.scenario.model_copy(
            update={"currency": "EUR", "currency_per_usd": 0.9}
        )
        assert figures(opened)["Cost per inference"].startswith("€")
        assert "This cannot work" not in texts(opened)


def test_reset_brings_the_defaults_back() -> None:
    opened = app("v=1&m=gpt-oss-120b&q=mxfp4-experts&c=100")
    next(button for button in opened.button if button.label == "Reset everything").click().run()
    assert scenario(opened) == Scenario()
    assert dict(opened.query_params) == {"v": "1"}


def test_a_broken_link_opens_the_defaults_and_lists_what_was_ignored() -> None:
    opened = app("v=1&c=999999&m=<b>x</b>&nonsense=1&tp=4")
    assert not opened.exception
    # What is in order counts; each of the others is named with what is allowed.
    assert scenario(opened) == Scenario(tensor_parallel=4)
    written = "\n".join(element.value for element in opened.text)
    assert "8,192" in written and "nonsense" in written
    # Somebody's text stays text: nothing of it is rendered.
    assert "<b>" not in "\n".join(element.value for element in [*opened.markdown, *opened.caption])


@pytest.mark.parametrize(
    "query",
    [
        "v=1&m=deepseek-r1",  # does not fit
        "v=1&hw=v100-sxm2-16gb&q=bf16",  # weights alone fill it
        "v=1&e=tensorrt",  # does not serve language models
        "v=1&sc=fixed&n=1&rps=10000",  # load above capacity
        "v=1&in=200000",  # longer than the model accepts
        "v=1&tp=3",  # heads that do not divide
    ],
)
def test_what_cannot_work_says_why_and_each_offer_works(query: str) -> None:
    opened = app(query)
    assert "This cannot work as it stands" in texts(opened)
    assert opened.text[0].value.endswith(".")
    labels = [b.label for b in opened.button if (b.key or "").startswith("suggest_")]
    assert labels
    for label in labels:
        again = app(query)
        next(button for button in again.button if button.label == label).click().run()
        assert not again.exception
        assert "This cannot work" not in texts(again)
        assert again.metric


RANGE = re.compile(r"^[^\d]{0,4}[\d.,]+( \w+)?–[\d.,]+ ?\D*$")


def test_every_figure_of_the_headline_has_its_likely_range() -> None:
    opened = app("v=1&sc=follow&rps=500")
    below = {metric.label: metric.delta for metric in opened.metric}
    assert len(below) == 10
    for label, text in below.items():
        assert RANGE.match(text), label
    assert below["Latency, p95"].endswith(" likely")
    assert "eight of ten lie inside" in opened.metric[0].help


@pytest.mark.parametrize(
    ("query", "figure", "said"),
    [
        ("v=1&sc=fixed&n=4", "Cost per inference", "same at any speed"),
        ("v=1&rps=0.01", "Cost per month", "same at any speed"),
        ("v=1&m=gbt-fraud-500x8&e=treelite&q=fp32&hw=xeon-platinum-8488c", "Latency, p95",
         "spread not measured"),
    ],
)  # fmt: skip
def test_figures_without_a_range_say_why(query: str, figure: str, said: str) -> None:
    below = {metric.label: metric.delta for metric in app(query).metric}
    assert below[figure] == said


@pytest.mark.parametrize("page", [file for file, _, _ in PAGES])
def test_every_page_hands_over_files_once_asked(page: str) -> None:
    opened = app("v=1&c=64", page)
    assert not any("export" in (button.key or "") for button in opened.get("download_button"))
    opened.session_state["export"] = True
    opened.run()
    keys = {button.key for button in opened.get("download_button")}
    assert {f"export_{ending}" for ending in files.KINDS} <= keys


def test_names_that_the_catalog_does_not_have_are_told() -> None:
    opened = app("v=1&m=gpt-9")
    assert "gpt-9" in "\n".join(element.value for element in opened.text)
    assert not opened.metric


def test_every_control_shows_its_field_and_can_be_opened() -> None:
    opened = app()
    opened.session_state["section_overheads"] = True
    opened.run()
    assert not opened.exception
    keys = {element.key for element in opened.number_input}
    assert {"w_pue", "w_log_usd_per_gb"} <= keys
    opened.number_input(key="w_egress_usd_per_gb").set_value(0.5).run()
    assert scenario(opened).egress_usd_per_gb == 0.5
    assert opened.query_params["eg"] == "0.5"


def test_a_value_out_of_range_never_reaches_the_scenario() -> None:
    opened = app()
    # Streamlit's own client does not send it, another one may.
    opened.number_input(key="n_concurrency").set_value(10**9).run()
    assert not opened.exception
    info = FIELDS["concurrency"]
    assert info.minimum is not None and info.maximum is not None
    assert info.minimum <= scenario(opened).concurrency <= info.maximum
    assert links.from_params(dict(opened.query_params)) == (scenario(opened), [])


def test_why_this_number_shows_formulas_inputs_and_sources() -> None:
    opened = app()
    assert not opened.latex
    opened.session_state["why"] = True
    opened.run()
    assert not opened.exception
    assert len(opened.latex) >= 6
    table = opened.dataframe[0].value
    assert {"Value", "Source", "Date"} <= set(table.columns)
    assert table["Source"].str.len().min() > 0
    assert table["Figure"].str.contains("bandwidth").any()


def test_what_moves_it_most_follows_the_scenario_and_the_step() -> None:
    opened = app("v=1&rps=500")
    assert not opened.dataframe
    opened.session_state["sensitivity"] = True
    opened.run()
    assert len(opened.get("plotly_chart")) == 3
    table = opened.dataframe[0].value.set_index("Field")
    assert len(table) == 10
    assert table.loc["Input tokens", "Up to"] == "1,200 tokens"
    opened.slider(key="moves_w_swing").set_value(0.5).run()
    assert not opened.exception
    assert opened.query_params["swing"] == "0.5"
    table = opened.dataframe[0].value.set_index("Field")
    assert table.loc["Input tokens", "Up to"] == "1,500 tokens"
    dearer = answer(Scenario(requests_per_s=500.0, input_tokens=1500), catalog()).estimate
    usual = answer(Scenario(requests_per_s=500.0), catalog()).estimate
    assert dearer is not None and usual is not None
    change = float(dearer.cost_per_inference) / float(usual.cost_per_inference) - 1.0
    assert table.loc["Input tokens", "Cost "] == f"+{percent(change)}"


def test_steps_that_cannot_be_are_said() -> None:
    opened = app("v=1&m=qwen3-14b&tp=8")
    opened.session_state["sensitivity"] = True
    opened.run()
    assert not opened.exception
    assert "Left out: Tensor parallel 16 devices." in texts(opened)


def test_other_units_are_one_click_away() -> None:
    opened = app()
    opened.session_state["costs"] = True
    opened.run()
    rows = opened.dataframe[0].value.set_index("USD")
    assert {"Per million output tokens", "Per inference within all limits", "Per year"} <= set(
        rows.index
    )
    assert rows.loc["Per inference", "Fully loaded"] == figures(opened)["Cost per inference"]


def test_the_catalog_lists_everything_with_source_and_age() -> None:
    opened = app(page=CATALOG)
    facts = catalog()
    sizes = {
        "Hardware": len(facts.accelerators), "Prices": len(facts.instance_prices),
        "Models": len(facts.models), "Hosted APIs": len(facts.api_prices),
        "Services": len(facts.service_prices), "Energy": len(facts.energy_facts),
        "Traffic": len(facts.traffic),
    }  # fmt: skip
    assert [tab.label for tab in opened.tabs] == list(sizes)
    for name, size in sizes.items():
        opened.session_state["catalog_tab"] = name
        opened.run()
        assert not opened.exception
        table = opened.dataframe[0].value
        assert len(table) == size
        assert "Source" in table.columns
        assert any("age" in str(column).lower() for column in table.columns)


def test_the_catalog_can_be_searched() -> None:
    opened = app(page=CATALOG)
    opened.text_input[0].set_value("nvidia H100").run()
    names = opened.dataframe[0].value["Name"]
    assert 0 < len(names) < 12
    assert names.str.contains("H100").all()
    opened.text_input[0].set_value("(no such thing").run()
    assert not opened.exception
    assert len(opened.dataframe[0].value) == 0


def test_a_corrected_estimate_says_so() -> None:
    """Whoever opens such a link must not take it for the bare model."""
    assert "Corrected" not in texts(app())
    assert "time per token × 1.3" in texts(app("v=1&kt=1.3"))
    trees = "v=1&m=gbt-fraud-500x8&e=treelite&q=fp32&hw=graviton4&kf=2"
    assert "Corrected" not in texts(app(trees))  # which have no first token


# Compression -------------------------------------------------------------------------------------


def test_the_headline_holds_all_levers() -> None:
    opened = app(links.encode(MANY), COMPRESSION)
    estimate = answer(MANY, catalog()).estimate
    assert estimate is not None
    assert figures(opened)["Cost per inference"] == money(float(estimate.cost_per_inference), MANY)
    said = texts(opened)
    found = compression.bridge(MANY, catalog())
    assert money(found.before.cost * MILLION, MANY).replace("$", r"\$") in said
    assert money(found.after.cost * MILLION, MANY).replace("$", r"\$") in said
    assert "Paid back after" in said
    # Bridge, quality and break-even.
    assert len(opened.get("plotly_chart")) == 3


def test_switches_show_what_is_pulled_and_pull() -> None:
    opened = app("v=1&m=llama-3.1-8b", COMPRESSION)
    assert not opened.toggle(key="lever_scheme").value
    assert "No lever is pulled" in texts(opened)
    opened.toggle(key="lever_scheme").set_value(True).run()
    assert not opened.exception
    assert scenario(opened) == Scenario(scheme="fp8")
    assert opened.query_params["q"] == "fp8"
    opened.toggle(key="lever_cascade").set_value(True).run()
    assert scenario(opened).cascade_model != "none"
    opened.toggle(key="lever_scheme").set_value(False).run()
    assert scenario(opened).scheme == "bf16"
    opened.toggle(key="lever_cascade").set_value(False).run()
    assert not opened.exception
    assert scenario(opened) == Scenario()


def test_a_setting_on_the_page_is_a_field_of_the_scenario() -> None:
    opened = app("v=1&dm=head", COMPRESSION)
    opened.slider(key="cw_acceptance").set_value(0.8).run()
    assert not opened.exception
    assert scenario(opened) == Scenario(draft_model="head", acceptance=0.8)


def test_fair_shares_are_shown_on_demand() -> None:
    opened = app(links.encode(MANY), COMPRESSION)
    opened.toggle(key="fair").set_value(True).run()
    assert not opened.exception
    assert len(opened.get("plotly_chart")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "v=1&m=bert-large&e=openvino&hw=xeon-platinum-8480plus&q=int8&in=128&sp=unstructured",
        "v=1&m=gbt-fraud-500x8&e=treelite&q=fp32&hw=graviton4",
        "v=1&m=resnet50-v1.5&e=tensorrt&hw=l4&q=int8&xs=0.3",
        "v=1&m=deepseek-r1&q=fp8&hw=h200-sxm&tp=8&e=sglang&kv=fp8&cur=EUR&fx=0.9&basis=marginal",
        "v=1&m=llama-3.1-8b&hw=mi300x&q=int4-awq&sh=0.97",
        "v=1&q=bf16&bq=fp32&be=pytorch-eager",
    ],
)
def test_every_kind_of_model_can_be_compressed(query: str) -> None:
    opened = app(query, COMPRESSION)
    assert "Quality kept with all levers" in texts(opened)


@pytest.mark.parametrize(
    "query",
    ["v=1&cm=resnet50-v1.5", "v=1&st=bert-large", "v=1&dm=nonsense", "v=1&m=llama-3.1-405b"],
)
def test_what_cannot_be_is_explained(query: str) -> None:
    opened = app(query, COMPRESSION)
    said = texts(opened)
    assert "This cannot work as it stands" in said
    assert "Quality kept" not in said


def test_tables_of_levers_open() -> None:
    opened = app(links.encode(MANY), COMPRESSION)
    for key in ("levers_table", "precisions"):
        opened.session_state[key] = True
    opened.run()
    assert not opened.exception


# Hardware ----------------------------------------------------------------------------------------


def test_the_cheapest_hardware_can_be_used() -> None:
    opened = app("v=1&m=llama-3.1-70b&q=fp8&tp=2", HARDWARE)
    start = Scenario(model="llama-3.1-70b", scheme="fp8", tensor_parallel=2)
    best = optimise.search(start, catalog()).best
    assert best is not None
    said = texts(opened)
    assert f"**{best.choice.accelerator.name}** is the cheapest" in said
    assert money(best.cost * MILLION, start).replace("$", r"\$") in said
    # Ranking, front and rooflines.
    assert len(opened.get("plotly_chart")) == 3
    opened.button(key="use_best").click().run()
    assert not opened.exception
    assert scenario(opened) == start.model_copy(update=best.changes)
    # The headline is now what the search has found.
    assert figures(opened)["Cost per inference"] == money(best.cost, start)


def test_limits_on_the_page_are_fields_of_the_scenario() -> None:
    opened = app("v=1", HARDWARE)
    opened.session_state["limits"] = True
    opened.run()
    opened.slider(key="hw_slo_share").set_value(0.9)
    opened.number_input(key="hw_max_devices").set_value(2).run()
    assert not opened.exception
    assert scenario(opened) == Scenario(slo_share=0.9, max_devices=2)
    best = optimise.search(scenario(opened), catalog()).best
    assert best is not None
    assert money(best.cost * MILLION, Scenario()).replace("$", r"\$") in texts(opened)
    poor = app("v=1&maxusd=0.5", HARDWARE)
    assert "Nothing that is known keeps all limits" in texts(poor)
    poor.button(key="loosen_max_usd_per_month").click().run()
    assert not poor.exception
    assert scenario(poor) == Scenario()
    assert "is the cheapest" in texts(poor)


def test_everything_that_is_folded_opens() -> None:
    opened = app("v=1&m=gbt-fraud-500x8&e=treelite&q=fp32&hw=graviton4&cur=EUR&fx=0.9", HARDWARE)
    for key in ("limits", "loads", "terms", "left_out"):
        opened.session_state[key] = True
    opened.run()
    assert not opened.exception
    assert "Cheapest at little traffic" in texts(opened)
    assert "quality not measured" in texts(opened)
    opened.selectbox(key="side_1").select_index(3).run()
    opened.text_input(key="hardware_words").set_value("cpu").run()
    assert not opened.exception


@pytest.mark.parametrize("change", ["cm=llama-3.2-1b", "st=ratio"])
def test_two_models_are_searched_without_one(change: str) -> None:
    opened = app(f"v=1&{change}", HARDWARE)
    assert "looks for the hardware of one model" in texts(opened)
    (remedy,) = (button for button in opened.button if button.label == "Search without it")
    remedy.click().run()
    assert not opened.exception
    assert scenario(opened) == Scenario()
    assert "is the cheapest" in texts(opened)


# Buying ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [
    Scenario(accelerator="a10g", requests_per_s=100.0),
    Scenario(requests_per_s=300.0, currency="EUR", currency_per_usd=0.9, scaling="follow"),
    Scenario(
        model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
        requests_per_s=500.0,
    ),
    Scenario(cascade_model="llama-3.2-1b", requests_per_s=100.0),
    Scenario(device_price_usd_per_hour=2.0, accelerator="tpu-v6e", engine="jetstream"),
])  # fmt: skip
def test_the_ways_to_pay_are_those_of_the_study(given: Scenario) -> None:
    opened = app(links.encode(given), BUYING)
    found = buying.compare(given, catalog())
    best = found.best
    assert best is not None
    shown = figures(opened)
    assert shown[f"Cheapest: {best.title}, a month"] == money(best.monthly, given)
    if best.id != "mix":
        assert shown["Best mix, a month"] == money(found.way("mix").monthly, given)
    opened.session_state["ways"] = True
    opened.run()
    assert not opened.exception
    table = opened.dataframe[0].value
    assert list(table["Way"]) == [way.title for way in found.ways]
    expected = 1 + (found.mix is not None) + (found.cash is not None)
    assert len(opened.get("plotly_chart")) == expected


def test_prices_and_assumptions_open_and_change_the_scenario() -> None:
    opened = app("v=1&buy=spot&si=10", BUYING)
    for key in ("buying_settings", "ways_assume"):
        opened.session_state[key] = True
    opened.run()
    assert not opened.exception
    assert "Purchase price of NVIDIA H100" in opened.dataframe[0].value["What"].str.cat(sep=" ")
    opened.number_input(key="bw_device_purchase_usd").set_value(12_000.0).run()
    assert not opened.exception
    assert scenario(opened) == Scenario(
        purchase="spot", spot_interruptions_per_month=10.0, device_purchase_usd=12_000.0
    )


def test_old_prices_show_their_age_beside_the_figures() -> None:
    opened = app("v=1", BUYING)
    assert any("days old" in (metric.delta or "") for metric in opened.metric)
    opened.session_state["ways"] = True
    opened.run()
    assert opened.dataframe[0].value["Age"].str.contains("days old").any()


def test_an_old_price_shows_its_age_above_the_figures() -> None:
    given = Scenario()
    price = choose(given, catalog()).price
    assert price is not None
    days = (date.today() - price.valid_from).days
    shown = f"{price.valid_from.isoformat()} ({days} days old)"
    assert (shown in texts(app())) == (days > OLD_PRICE_DAYS)


def test_what_cannot_be_served_cannot_be_bought() -> None:
    opened = app("v=1&m=llama-3.1-405b", BUYING)
    assert "This cannot work as it stands" in texts(opened)
    assert not opened.get("plotly_chart")
