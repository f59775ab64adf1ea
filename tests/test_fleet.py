"""A fleet from a table: sums against decimals, rules on constructed cases, and bad files."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model import export
from cpi_model.catalog import catalog, offers, price_on
from cpi_model.formulas import queueing
from cpi_model.studies import fleet as study
from cpi_model.studies.fleet import RULES, Fleet, Judged
from cpi_model.studies.validate import UnusableTable

FACTS = catalog()
COLUMNS = (
    "resource", "model", "version", "team", "hardware", "replicas", "hours", "usd_per_hour",
    "requests", "gpu_mean_percent", "gpu_p95_percent", "running_requests", "min_replicas",
    "commitment",
)  # fmt: skip
BUSY: dict[str, Any] = {
    "resource": "chat", "model": "llama", "version": "v1", "team": "a", "hardware": "own",
    "replicas": 4, "hours": 730, "usd_per_hour": 2, "requests": 1e6, "gpu_mean_percent": 70,
    "gpu_p95_percent": 95,
}  # fmt: skip


def text(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def fleet(*rows: dict[str, Any]) -> Fleet:
    """Rows that differ from a busy one."""
    return study.checked(study.read("f.csv", text([BUSY | row for row in rows])), FACTS)


def found(*rows: dict[str, Any], **thresholds: float) -> list[str]:
    """The rule that claims each row, empty where none does."""
    judged = study.judge(fleet(*rows), thresholds)
    return [RULES[place].id if place >= 0 else "" for place in judged.rule]


def judged(*rows: dict[str, Any]) -> Judged:
    return study.judge(fleet(*rows))


# Sums ---------------------------------------------------------------------------------------------


def drawn(count: int, seed: int = 7) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {
            "resource": f"r{number}", "model": chance.choice(["", "a", "b", "c"]),
            "version": chance.choice(["v1", "v2"]), "team": chance.choice(["x", "y", ""]),
            "hardware": "own", "replicas": chance.choice([1, 2, 0.5, 3.25]),
            "hours": round(chance.uniform(0, 800), 2),
            "usd_per_hour": round(chance.uniform(0, 99), 4),
            "requests": chance.choice(["", 0, 12345, 9]),
            "gpu_mean_percent": chance.choice(["", 0, 33.3, 100]),
            "gpu_p95_percent": chance.choice(["", 1, 60, 100]),
            "commitment": chance.choice(["", "", "used", "unused"]),
        }
        for number in range(count)
    ]  # fmt: skip


def test_sums_are_those_of_decimals_to_the_cent() -> None:
    rows = drawn(600)
    whole = study.checked(study.read("f.csv", text(rows)), FACTS)
    costs = study.costs(whole)
    micro = Decimal("0.000001")
    exact = [
        (Decimal(str(r["usd_per_hour"])) * Decimal(str(r["replicas"])) * Decimal(str(r["hours"])))
        for r in rows
    ]
    rounded = [each.quantize(micro, ROUND_HALF_EVEN) for each in exact]
    assert costs.allocated + costs.idle + costs.unallocated == costs.total
    assert costs.total == sum(rounded).quantize(Decimal("0.01"))
    assert abs(costs.total - sum(exact)) < Decimal("0.01")
    nobody = sum(
        cost for cost, row in zip(rounded, rows, strict=True)
        if not row["model"] and row["commitment"] != "unused"
    )  # fmt: skip
    assert abs(costs.unallocated - nobody) <= Decimal("0.01")
    for group in study.GROUPS:
        frame = study.by(whole, study.judge(whole), group)
        assert round(frame["cost"].sum(), 2) == float(costs.total)
        assert frame["rows"].sum() == 600


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=6))
def test_parts_to_the_cent_sum_to_their_total_to_the_cent(parts: list[int]) -> None:
    shown = study.to_cents(parts)
    assert sum(shown) == study.cents(sum(parts))
    for part, cents in zip(parts, shown, strict=True):
        assert abs(Decimal(part) / 1_000_000 - cents) < Decimal("0.01")


def test_cost_of_an_inference_is_all_that_is_paid_over_all_requests() -> None:
    # The metric's worked example: 500 USD a day for 1,000,000 requests.
    day = {"replicas": 1, "hours": 24, "usd_per_hour": 500 / 24, "requests": 1_000_000}
    whole = fleet(day | {"gpu_mean_percent": 25})
    (row,) = study.by(whole, study.judge(whole), "model").to_dict("records")
    assert row["each"] == pytest.approx(0.0005)
    assert row["each_busy"] == pytest.approx(0.0005 / 4)
    assert study.costs(whole).idle == Decimal("375.00")


def test_what_answers_nothing_is_idle_and_what_has_no_model_is_nobodys() -> None:
    costs = study.costs(fleet(
        {"requests": 0, "gpu_mean_percent": ""}, {"model": ""}, {"gpu_mean_percent": ""},
        {"model": "", "commitment": "unused"},
    ))  # fmt: skip
    each = Decimal("5840.00")  # 4 replicas, 730 h, 2 USD
    assert (costs.allocated, costs.idle, costs.unallocated) == (each, 2 * each, each)
    assert costs.unmeasured == each


# Prices -------------------------------------------------------------------------------------------


def test_a_blank_price_is_the_catalogs_on_demand() -> None:
    whole = fleet(
        {"usd_per_hour": "", "hardware": "h100-sxm"},
        {"usd_per_hour": "", "hardware": "aws/p5.48xlarge"},
        {"usd_per_hour": "", "hardware": "P5.48xlarge"},
        {"hardware": "aws/p5.48xlarge"},
    )
    server = price_on(FACTS, "aws/p5.48xlarge", "on_demand")
    assert server is not None
    chip = offers(FACTS, "h100-sxm", "on_demand")[0].usd_per_device_hour
    assert list(whole.rows["price"]) == [chip, server.usd_per_hour, server.usd_per_hour, 2.0]
    assert list(whole.rows["priced_by"]) == ["catalog", "catalog", "catalog", "table"]


def test_devices_of_a_replica_count() -> None:
    content = b"resource,model,hardware,replicas,devices,hours,requests\n"
    content += b"a,m,h100-sxm,1,4,1,1\nb,m,aws/p5.48xlarge,1,2,1,1\n"
    whole = study.checked(study.read("f.csv", content), FACTS)
    server = price_on(FACTS, "aws/p5.48xlarge", "on_demand")
    assert server is not None
    chip = offers(FACTS, "h100-sxm", "on_demand")[0].usd_per_device_hour
    assert list(whole.rows["price"]) == pytest.approx([4 * chip, server.usd_per_hour / 4])


def test_an_unknown_price_is_unknown_and_not_zero() -> None:
    whole = fleet({}, {"usd_per_hour": "", "hardware": "h100-sxn", "requests": 5})
    costs = study.costs(whole)
    assert costs.partial and costs.unpriced == 1
    assert costs.total == Decimal("5840.00")
    (row,) = study.by(whole, study.judge(whole), "model").to_dict("records")
    assert row["partial"] and math.isnan(row["each"])
    assert any("did you mean h100-sxm" in note for note in whole.notes)
    idle = {"usd_per_hour": "", "requests": 0, "gpu_mean_percent": 0, "gpu_p95_percent": 0}
    lost = fleet(idle)
    (finding,) = study.findings(lost, study.judge(lost)).to_dict("records")
    assert math.isnan(finding["saving"])


# Rules --------------------------------------------------------------------------------------------

SILENT = {"requests": 0, "gpu_mean_percent": 0, "gpu_p95_percent": 2}


def test_an_endpoint_without_requests_is_warned_of_after_a_week_and_sure_after_a_month() -> None:
    rows = [SILENT | {"hours": hours} for hours in (167, 168, 719, 720)]
    assert found(*rows) == ["idle", "silent", "silent", "zombie"]
    assert list(judged(*rows).saving / 1e6) == [3 * 2 * 167, 4 * 2 * 168, 4 * 2 * 719, 4 * 2 * 720]


def test_gpus_that_work_without_a_counted_request_are_not_idle() -> None:
    """Training, or a batch that no request counter sees."""
    assert found(SILENT | {"gpu_p95_percent": 80, "gpu_mean_percent": 60}) == [""]


def test_requests_that_are_not_known_are_not_zero() -> None:
    assert found(SILENT | {"requests": ""}) == [""]


def test_an_idle_gpu_needs_the_gpu_the_requests_and_a_day() -> None:
    idle = {"requests": 10, "gpu_mean_percent": 1, "gpu_p95_percent": 4, "hours": 24,
            "running_requests": 0.05}  # fmt: skip
    assert found(idle) == ["idle"]
    for change in (
        {"gpu_p95_percent": 5}, {"gpu_p95_percent": ""}, {"running_requests": 0.1},
        {"running_requests": ""}, {"hours": 23.9}, {"min_replicas": 4}, {"model": ""},
    ):  # fmt: skip
        assert found(idle | change) == [""], change


def test_replicas_within_the_minimum_are_left_alone() -> None:
    idle = {"requests": 0, "gpu_mean_percent": 0, "gpu_p95_percent": 0, "hours": 100}
    assert list(judged(idle | {"min_replicas": 3}).saving / 1e6) == [1 * 2 * 100]
    assert list(judged(idle | {"min_replicas": 0}).saving / 1e6) == [4 * 2 * 100]
    # Without a stated minimum one is left.
    assert list(judged(idle).saving / 1e6) == [3 * 2 * 100]


def test_no_cpu_makes_a_gpu_idle() -> None:
    content = text([BUSY | {"gpu_mean_percent": "", "gpu_p95_percent": ""}]).decode().splitlines()
    with_cpu = f"{content[0]},cpu_percent\n{content[1]},0.5\n".encode()
    table = study.read("f.csv", with_cpu)
    whole = study.checked(table, FACTS)
    assert (study.judge(whole).rule == study.NONE).all()
    assert any("cpu" in note.casefold() for note in whole.notes)


def test_utilisation_in_shares_is_not_taken_for_per_cent() -> None:
    """Read as per cent, a busy fleet would be idle."""
    shares = {"gpu_mean_percent": 0.7, "gpu_p95_percent": 0.95, "running_requests": 0.01}
    whole = fleet(shares, shares)
    assert (study.judge(whole).rule == study.NONE).all()
    assert any("look like shares" in note for note in whole.notes)


def test_under_use_needs_both_figures_and_two_weeks() -> None:
    low = {"replicas": 20, "gpu_mean_percent": 39, "gpu_p95_percent": 49, "hours": 336}
    assert found(low) == ["underused"]
    for change in (
        {"gpu_mean_percent": 40}, {"gpu_p95_percent": 50}, {"hours": 335},
        {"gpu_mean_percent": ""}, {"gpu_p95_percent": ""},
    ):  # fmt: skip
        assert found(low | change) == [""], change


@pytest.mark.parametrize(("replicas", "busy"), [(8, 30), (20, 49), (100, 20), (1000, 45)])
def test_what_is_kept_of_the_under_used_carries_its_load(replicas: int, busy: float) -> None:
    """By Erlang's formula, as if each replica served one request at a time."""
    kept = float(judged({
        "replicas": replicas, "gpu_mean_percent": 10, "gpu_p95_percent": busy,
    }).kept[0])  # fmt: skip
    load = replicas * busy / 100
    assert load < kept < replicas
    assert float(queueing.erlang_c(load, kept)) < 0.3


def test_an_old_version_has_little_traffic_for_two_weeks_beside_another() -> None:
    main = {"requests": 960, "version": "v2"}
    old = {"requests": 40, "version": "v1", "resource": "old", "min_replicas": 2, "hours": 336}
    assert found(main, old) == ["", "version"]
    # Its minimum of replicas is what goes away with it.
    assert list(judged(main, old).saving / 1e6) == [0, 2 * 2 * 336]
    for change in (
        {"requests": 60}, {"hours": 335}, {"version": "v2"}, {"version": ""}, {"min_replicas": 0},
        {"model": "another"}, {"replicas": 0},
    ):  # fmt: skip
        assert found(main, old | change) == ["", ""], change
    assert found(main | {"requests": ""}, old) == ["", ""]
    assert found(main, old, version_share=3) == ["", ""]


def test_steady_use_at_the_price_on_demand_is_a_case_for_a_commitment() -> None:
    steady = {"hardware": "aws/g5.xlarge", "usd_per_hour": ""}
    assert found(steady) == ["steady"]
    on_demand, committed = (
        price_on(FACTS, "aws/g5.xlarge", option) for option in ("on_demand", "reserved_1y")
    )
    assert on_demand is not None and committed is not None
    expected = 4 * 730 * (on_demand.usd_per_hour - committed.usd_per_hour)
    assert judged(steady).saving[0] / 1e6 == pytest.approx(expected)
    for change in (
        {"hours": 335}, {"usd_per_hour": 0.5}, {"commitment": "used"}, {"hardware": "h100-sxm"},
    ):  # fmt: skip
        assert found(steady | change) == [""], change
    assert found(steady | {"hours": 500}, {}) == ["", ""], "not most of the period"


def test_an_unused_commitment_needs_no_measurement() -> None:
    whole = fleet({"model": "", "requests": "", "commitment": "Unused", "gpu_p95_percent": 90})
    assert found({"model": "", "requests": "", "commitment": "unused"}) == ["commitment"]
    assert study.judge(whole).saving[0] == whole.micros[0]


def test_a_row_is_claimed_once_and_never_saves_more_than_it_costs() -> None:
    rows = drawn(3000, 11)
    whole = study.checked(study.read("f.csv", text(rows)), FACTS)
    result = study.judge(whole)
    assert (result.saving >= 0).all() and (result.saving <= whole.micros).all()
    assert (result.saving[result.rule == study.NONE] == 0).all()
    totals = study.totals(whole, result)
    assert totals["rows"].sum() == (result.rule != study.NONE).sum()
    assert totals["saving"].sum() == pytest.approx(result.saving.sum() / 1e6)
    listed = study.findings(whole, result)
    assert listed["saving"].is_monotonic_decreasing and len(listed) == totals["rows"].sum()
    assert all(study.evidences(listed.head(50)))


def test_the_order_of_rows_decides_nothing() -> None:
    rows = drawn(400, 3)
    first = study.judge(study.checked(study.read("f.csv", text(rows)), FACTS))
    turned = study.judge(study.checked(study.read("f.csv", text(rows[::-1])), FACTS))
    assert np.array_equal(first.rule, turned.rule[::-1])
    assert np.array_equal(first.saving, turned.saving[::-1])


@pytest.mark.parametrize("each", study.THRESHOLDS, ids=lambda each: each.id)
def test_every_threshold_decides_something(each: study.Threshold) -> None:
    """And has a source; at an end of its range other rows are found, or other savings."""
    assert each.title and each.help and each.source and each.as_of
    rows = [study.example().cells.to_dict("records")[n] for n in range(len(study.example().cells))]
    extra = [
        BUSY | {"resource": f"n{hours}", "gpu_mean_percent": mean, "gpu_p95_percent": p95,
                "hours": hours, "requests": requests, "running_requests": running}
        for hours in (30, 400, 800)
        for mean, p95 in ((1, 3), (20, 45))
        for requests in (0, 500)
        for running in (0.01, 3)
    ]  # fmt: skip
    extra.append(BUSY | {"hardware": "aws/g5.xlarge", "usd_per_hour": "", "hours": 600})
    whole = study.checked(study.read("f.csv", text([{k: r[k] for k in COLUMNS if k in r}
                                                    for r in [*rows, *extra]])), FACTS)  # fmt: skip
    usual = study.judge(whole)
    others = [study.judge(whole, {each.id: value}) for value in (0.0, each.high)]
    assert any(
        not np.array_equal(usual.rule, other.rule) or not np.array_equal(usual.saving, other.saving)
        for other in others
    )


def test_thresholds_out_of_range_are_refused_in_a_sentence() -> None:
    assert "did you mean idle_p95" in study.refused("idle_p59", 3.0)
    assert "allowed is a number from 0 to 100" in study.refused("idle_p95", 101.0)
    assert study.refused("idle_p95", math.nan) and not study.refused("idle_p95", 0.0)


# Files --------------------------------------------------------------------------------------------


def test_bad_rows_are_named_and_the_others_are_used() -> None:
    lines = text([
        BUSY, BUSY | {"hours": "many"}, BUSY | {"gpu_p95_percent": 400}, BUSY | {"replicas": ""},
        BUSY | {"resource": " "}, BUSY | {"commitment": "perhaps"}, BUSY | {"requests": "inf"},
        BUSY | {"team": "x" * 201}, BUSY | {"usd_per_hour": 1e5, "replicas": 1e6},
    ]).decode().splitlines()  # fmt: skip
    lines[2:2] = ["", "too,few"]
    whole = study.checked(study.read("f.csv", "\n".join(lines).encode()), FACTS)
    assert list(whole.rows.index) == [2]
    assert [(each.row, each.column) for each in whole.problems] == [
        (4, ""), (5, "hours"), (6, "gpu_p95_percent"), (7, "replicas"), (8, "resource"),
        (9, "commitment"), (10, "requests"), (11, "team"), (12, "usd_per_hour"),
    ]  # fmt: skip
    assert "divide by their number" in whole.problems[2].reason
    assert all("allowed" in p.reason or "cells" in p.reason or "costs" in p.reason
               for p in whole.problems)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"resource,model\na,b\n", "no column hardware, replicas, hours, requests"),
        (text([]), "no rows"),
        (b"PK\x03\x04 a workbook", "packed"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (text([BUSY]).replace(b"team", b"model"), "more than once"),
        (b"x" * 20_000_001, "20.0 MB"),
        (text([BUSY]) + b'"' + b"x" * 200_000, "cannot be read as CSV in row 3"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(content: bytes, says: str) -> None:
    with pytest.raises(UnusableTable, match=says.replace(".", r"\.")) as refusal:
        study.checked(study.read("f.csv", content), FACTS)
    assert str(refusal.value).count("\n") == 0


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "MOST_ROWS", 2)
    study.read("f.csv", text([BUSY] * 2))
    with pytest.raises(UnusableTable, match="more than 2 rows"):
        study.read("f.csv", text([BUSY] * 3))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_byte_order_marks_of_spreadsheets(delimiter: str) -> None:
    content = b"\xef\xbb\xbf" + text([BUSY], delimiter).replace(b"resource", b" Resource ")
    assert len(study.checked(study.read("f.csv", content), FACTS).rows) == 1


def test_a_hundred_malformed_uploads_never_raise_anything_else() -> None:
    chance = random.Random(20_261_125)
    base = study.EXAMPLE.read_bytes()
    pieces = [b"\x00", b'"', b",", b"\n", b"\r", b"=cmd()", b"\xff", b"1e999", b"-1", b"nan",
              "\u202e\U0001f600".encode(), b",,,,", b"9" * 400, b"</script>"]  # fmt: skip
    read = 0
    for _ in range(100):
        content = bytearray(base)
        for _ in range(chance.randint(1, 12)):
            at = chance.randrange(len(content))
            action = chance.random()
            if action < 0.5:
                content[at:at] = chance.choice(pieces)
            elif action < 0.8:
                del content[at : at + chance.randint(1, 200)]
            else:
                content[at] = chance.randrange(256)
        try:
            whole = study.checked(study.read("bad.csv", bytes(content)), FACTS)
        except UnusableTable as refusal:
            assert str(refusal).endswith((".", "?")), str(refusal)
            continue
        read += 1
        json.dumps(study.summary(whole), allow_nan=False)
    assert 10 < read < 100


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_any_bytes_are_a_table_or_a_sentence(tail: bytes) -> None:
    try:
        study.checked(study.read("f.csv", text([BUSY]) + tail), FACTS)
    except UnusableTable as refusal:
        assert str(refusal)


def test_hostile_cells_leave_as_text() -> None:
    evil = "=HYPERLINK(1)"
    whole = fleet(SILENT | {"resource": evil, "team": "@x", "model": "<b>m</b>"})
    frame = study.findings(whole, study.judge(whole))
    assert frame["resource"][0] == evil
    written = pd.read_csv(io.BytesIO(export.csv(frame)))
    assert written["resource"][0] == "'" + evil and written["team"][0] == "'@x"


def test_the_example_has_something_of_everything_and_the_template_can_be_read_back() -> None:
    whole = study.checked(study.example(), FACTS)
    assert not whole.problems
    rules = {RULES[place].id for place in study.judge(whole).rule if place >= 0}
    assert rules == {rule.id for rule in RULES}
    costs = study.costs(whole)
    assert costs.partial and min(costs.allocated, costs.idle, costs.unallocated) > 0
    again = study.read("template.csv", export.csv(study.template()))
    assert list(again.cells.columns) == list(study.NAMES)
    assert not study.checked(again, FACTS).problems


def test_the_summary_is_json_that_adds_up() -> None:
    document = json.loads(json.dumps(study.summary(study.checked(study.example(), FACTS))))
    parts = (document[f"{part}_usd"] for part in ("allocated", "idle", "unallocated"))
    assert sum(map(Decimal, parts)) == Decimal(document["total_usd"])
    saved = sum(row["saving"] or 0.0 for row in document["findings"])
    assert saved == pytest.approx(float(document["saving_usd"]), abs=0.01)
    assert document["findings_in_all"] == len(document["findings"])


def test_an_empty_fleet_has_sums_of_nothing() -> None:
    whole = fleet({"hours": "x"})
    assert whole.rows.empty and len(whole.problems) == 1
    assert study.costs(whole).total == 0
    json.dumps(study.summary(whole), allow_nan=False)
