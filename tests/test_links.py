"""Links, JSON and YAML: lossless for us, harmless from others, the same for ever."""

from __future__ import annotations

import base64
import csv
import json
import re
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.scenario import FIELDS, GROUPS, KEYS, FieldInfo, Scenario

GOLDEN = [
    (row["query"], json.loads(row["fields"]))
    for row in csv.DictReader(
        (Path(__file__).parent / "golden_links.csv").read_text(encoding="utf-8").splitlines()
    )
]
"""Links of version 1 and what they mean, written by hand. Rows are added, never changed."""
DEFAULTS_OF_VERSION_1: dict[str, Any] = next(fields for query, fields in GOLDEN if query == "v=1")

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def value_of(info: FieldInfo) -> st.SearchStrategy[Any]:
    if info.kind == "choice":
        return st.sampled_from(info.choices)
    if info.kind == "text":
        names = st.builds(
            str.__add__, st.sampled_from(LETTERS), st.text(LETTERS + "._/-", max_size=59)
        )
        several = st.lists(names, min_size=1, max_size=2).map(",".join)
        return several if info.several else names
    assert info.minimum is not None and info.maximum is not None
    if info.kind == "int":
        return st.integers(int(info.minimum), int(info.maximum))
    return st.floats(info.minimum, info.maximum) | (st.none() if info.optional else st.nothing())


scenarios = st.fixed_dictionaries(
    {}, optional={name: value_of(info) for name, info in FIELDS.items()}
).map(lambda values: Scenario(**values))


# For ever ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "fields"), GOLDEN, ids=[query for query, _ in GOLDEN])
def test_links_that_people_have_sent_keep_their_meaning(query: str, fields: dict[str, Any]) -> None:
    """A default that changes needs a new version: links leave out what was the default."""
    scenario, problems = links.decode(query)
    assert problems == []
    assert scenario.model_dump() == DEFAULTS_OF_VERSION_1 | fields


def test_every_key_stands_in_the_golden_links() -> None:
    used = {key for query, _ in GOLDEN for key in parse_qs(query.rpartition("?")[2])}
    assert used == set(KEYS) | {"v", links.PACKED}


def test_every_key_has_its_place_among_the_packed_values() -> None:
    """The golden link with packed values watches that the places stay."""
    assert len(links.PACKED_ORDER) == len(set(links.PACKED_ORDER))
    assert set(links.PACKED_ORDER) >= set(KEYS)


def test_a_link_of_an_older_version_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new version will do it: a key renamed, and the old default kept."""

    def of_version_1(fields: links.Fields) -> links.Fields:
        renamed = {("tp" if key == "tensor" else key): text for key, text in fields.items()}
        return {"pue": "1.5"} | renamed

    monkeypatch.setattr(links, "MIGRATIONS", {1: of_version_1, 2: dict})
    monkeypatch.setattr(links, "VERSION", 2)
    scenario, problems = links.decode("v=1&tensor=4&c=8")
    assert problems == []
    assert (scenario.tensor_parallel, scenario.concurrency, scenario.pue) == (4, 8, 1.5)
    assert links.to_params(scenario)["v"] == "2"


# Lossless ----------------------------------------------------------------------------------------


@given(scenarios)
def test_round_trips_lose_nothing(scenario: Scenario) -> None:
    assert links.decode(links.encode(scenario)) == (scenario, [])
    assert links.decode("https://host.example/page?" + links.encode(scenario)) == (scenario, [])
    assert links.from_params(links.to_params(scenario)) == (scenario, [])
    for everything in (False, True):
        assert links.from_text(links.to_json(scenario, everything), "json") == (scenario, [])
        assert links.from_text(links.to_yaml(scenario, everything), "yaml") == (scenario, [])


@given(scenarios)
def test_others_read_what_we_write(scenario: Scenario) -> None:
    """The standard library and PyYAML's own loader see the same values."""
    changed = {n: v for n, v in scenario.model_dump().items() if v != FIELDS[n].default}
    query = parse_qs(links.encode(scenario), keep_blank_values=True, strict_parsing=True)
    assert query.pop("v") == ["1"]
    if links.PACKED in query:
        (token,) = query[links.PACKED]
        packed = zlib.decompress(base64.urlsafe_b64decode(token + "==="), wbits=-15).decode()
        pairs = zip(links.PACKED_ORDER, packed.split("~"), strict=False)
        query = {key: [text] for key, text in pairs if text}
    assert {KEYS[key] for key in query} == set(changed)
    for text, read in ((links.to_json(scenario), json.loads), (links.to_yaml(scenario), _yaml)):
        document = read(text)
        assert document.pop("version") == 1
        assert set(document) <= set(GROUPS)
        assert {n: v for group in document.values() for n, v in group.items()} == changed


def _yaml(text: str) -> Any:
    return yaml.safe_load(text)


def test_only_what_differs_is_written() -> None:
    assert links.encode(Scenario()) == "v=1"
    assert links.to_params(Scenario(concurrency=64, pue=1.5)) == {"v": "1", "c": "64", "pue": "1.5"}


def test_a_link_with_every_field_changed_is_short_enough() -> None:
    """With the longest names of the catalog, and numbers as the boxes of the app give them."""
    facts = catalog()
    names = (facts.models, facts.accelerators, facts.instances, facts.schemes, facts.engines)
    longest = max((id for known in names for id in known), key=len)
    values: dict[str, Any] = {}
    for name, info in FIELDS.items():
        if info.kind == "choice":
            values[name] = max((c for c in info.choices if c != info.default), key=len)
        elif info.kind == "text":
            values[name] = longest
        elif info.kind == "int":
            values[name] = int(info.maximum or 0) - 1
        else:
            assert info.minimum is not None and info.maximum is not None
            values[name] = float(f"{info.minimum + (info.maximum - info.minimum) / 7:.6g}")
    scenario = Scenario(**values)
    assert all(getattr(scenario, name) != info.default for name, info in FIELDS.items())
    assert len(links.encode(scenario)) < 2000
    assert links.decode(links.encode(scenario)) == (scenario, [])


@given(scenarios, scenarios)
def test_packed_values_come_back_over_their_base(scenario: Scenario, base: Scenario) -> None:
    fields, problem = links.unpack(links.pack(scenario, base))
    assert problem == ""
    assert links.from_params(fields, base) == (scenario, [])


# Harmless ----------------------------------------------------------------------------------------


def _token(raw: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(raw, 9, wbits=-15)).decode()


@pytest.mark.parametrize(
    "token",
    [
        "", "!", "AAAA", "ä", "=", "z" * 30_000,
        links.pack(Scenario(pue=1.5, tensor_parallel=4))[:-4], _token(b"~" * 10_000_000),
        _token(b"1~" * 500), _token("é".encode()),
    ],
    ids=["empty", "sign", "noise", "umlaut", "padding", "long", "cut", "bomb", "many", "accent"],
)  # fmt: skip
def test_packed_values_that_cannot_be_read_are_one_sentence(token: str) -> None:
    scenario, problems = links.from_params({"v": "1", "z": token, "c": "64"})
    assert scenario == Scenario(concurrency=64)
    assert problems == ["The packed part of the link cannot be read; was it cut off?"]


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
some_keys = st.sampled_from([*KEYS, *FIELDS, *GROUPS, "v", "version"]) | st.text()
ACTIVE = re.compile(r"[\x00-\x1f\x7f<>`*\[\]|\\$&]|\]\(")


def harmless(problems: list[str]) -> None:
    for problem in problems:
        assert len(problem) < 400
        assert not ACTIVE.search(problem), problem
        assert problem.isprintable()


@given(st.dictionaries(some_keys | st.integers(), garbage, max_size=12))
def test_any_parameters_give_a_scenario(params: dict[Any, Any]) -> None:
    scenario, problems = links.from_params(params)
    assert Scenario.model_validate(scenario.model_dump()) == scenario
    harmless(problems)


@given(st.dictionaries(some_keys, garbage, max_size=12) | garbage)
def test_any_document_gives_a_scenario(document: Any) -> None:
    scenario, problems = links.from_document(document)
    assert Scenario.model_validate(scenario.model_dump()) == scenario
    harmless(problems)


@given(st.text(max_size=300))
def test_any_text_gives_a_scenario(text: str) -> None:
    for scenario, problems in (
        links.decode(text), links.from_text(text, "json"), links.from_text(text, "yaml"),
    ):  # fmt: skip
        assert Scenario.model_validate(scenario.model_dump()) == scenario
        harmless(problems)


@given(st.dictionaries(some_keys, st.text(), min_size=1))
def test_a_bad_field_costs_only_itself(bad: dict[str, str]) -> None:
    rest = {key: text for key, text in bad.items() if key not in ("v", "c", "tp")}
    scenario, _ = links.from_params(rest | {"c": "64", "tp": "8"})
    assert (scenario.concurrency, scenario.tensor_parallel) == (64, 8)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("c=7.5", "c: concurrency is '7.5', allowed is a whole number from 1 to 8,192."),
        ("c=0", "c: concurrency is '0', allowed is a whole number from 1 to 8,192."),
        ("c=", "c: concurrency is empty, allowed is a whole number from 1 to 8,192."),
        ("c=1_000", "c: concurrency is '1_000', allowed is a whole number from 1 to 8,192."),
        ("c=true", "c: concurrency is 'true', allowed is a whole number from 1 to 8,192."),
        ("c=٣", "c: concurrency is '٣', allowed is a whole number from 1 to 8,192."),
        ("pue=nan", "pue: pue is 'nan', allowed is a number from 1 to 3."),
        ("rps=inf", "rps: requests_per_s is 'inf', allowed is a number from 0.0001 to 1,000,000."),
        ("sc=always", "sc: scaling is 'always', allowed is one of peak, follow, fixed."),
        ("zz=1", "There is no field 'zz' in links of version 1."),
        ("c=1&c=2", "'c' stands twice, the first was taken."),
        (
            "m=%3Cscript%3Ealert(1)",
            "m: model is 'scriptalert1', allowed is an id of at most 60 letters, digits and "
            ". _ / -.",
        ),
        ("v=7", "The link is of version '7', known is up to 1; what could be read was taken."),
        (
            "https://host.example/page",
            "'https://host.example/page' holds no scenario: nothing follows a question mark.",
        ),
    ],
)
def test_what_was_ignored_is_said_in_one_sentence(query: str, sentence: str) -> None:
    _, problems = links.decode(query)
    assert problems == [sentence]


@pytest.mark.parametrize("text", ["64", "64.0", "6.4e1", "+64", " 64 "])
def test_whole_numbers_may_be_written_in_other_ways(text: str) -> None:
    assert links.decode(f"c={quote(text)}")[0].concurrency == 64


def test_a_link_of_a_later_version_gives_what_is_known() -> None:
    scenario, problems = links.decode("v=2&c=64&new=1")
    assert scenario == Scenario(concurrency=64)
    assert len(problems) == 2


def test_work_is_bounded() -> None:
    assert len(links.decode("c=1&" * 100_000)[1]) == 1
    assert links.decode("x" * 1_000_000) == (
        Scenario(), ["The link is 1,000,000 characters long, at most 20,000 are read."]
    )  # fmt: skip
    many = {f"k{number}": "1" for number in range(100_000)}
    assert len(links.from_params(many)[1]) <= links.MOST_PARAMETERS + 1
    long = links.from_params({"m": "a" * 1_000_000, "k" * 1_000_000: "1"})[1]
    assert max(map(len, long)) < 400
    assert links.from_document({"concurrency": 10**5000})[0] == Scenario()
    assert len(links.from_document({f"k{n}": 1 for n in range(10_000)})[1]) <= 201


# Files -------------------------------------------------------------------------------------------


def test_grouped_and_flat_files_are_the_same() -> None:
    grouped = "version: 1\nserving:\n  concurrency: 64\nmodel:\n  model: llama-3.1-70b\n"
    flat = '{"concurrency": 64, "model": "llama-3.1-70b"}'
    expected = Scenario(concurrency=64, model="llama-3.1-70b")
    assert links.from_text(grouped, "yaml") == (expected, [])
    assert links.from_text(flat, "json") == (expected, [])
    assert links.from_text("", "yaml") == (Scenario(), [])
    assert links.from_text("serving:\n", "yaml") == (Scenario(), [])
    assert links.from_text("requests_per_s: 1e3\n", "yaml")[0].requests_per_s == 1000


def test_files_say_what_was_ignored() -> None:
    text = """
        serving: {concurrency: yes, tensor_paralel: 2}
        overheads: 3
        device_price_usd_per_hour: .nan
        pue: [1, 2]
        scaling: 2001-01-01
    """
    scenario, problems = links.from_text(text, "yaml")
    assert scenario == Scenario()
    assert problems == [
        "concurrency is 'True', allowed is a whole number from 1 to 8,192.",
        "There is no field 'tensor_paralel' in serving; did you mean tensor_parallel?",
        "overheads is '3', must hold FIELD: VALUE.",
        "device_price_usd_per_hour is 'nan', allowed is a number from 0.00001 to 10,000.",
        "pue is '1, 2', allowed is a number from 1 to 3.",
        "scaling is '2001-01-01', allowed is one of peak, follow, fixed.",
    ]


LAUGHS = "a: &a [1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (LAUGHS, "yaml", "references"),
        ("x: !!python/object/apply:os.system [ls]", "yaml", "line 1"),
        ("[" * 5000, "yaml", "nested"),
        ("[" * 50_000, "json", "nested"),
        ("concurrency: 1\nconcurrency: 2", "yaml", "'concurrency' stands twice"),
        ('{"pue": 1.1, "pue": 1.2}', "json", "'pue' stands twice"),
        ("a: [", "yaml", "line 1"),
        ('{\n"a": }', "json", "line 2"),
        ("- 1\n- 2", "yaml", "holds no fields"),
        ("x" * 70_000, "yaml", "at most 65,536"),
        ("0x" + "f" * 60_000, "yaml", "holds no fields"),
        ("\x00", "yaml", "not YAML"),
    ],
)
def test_hostile_files_are_refused_in_one_sentence(text: str, kind: str, words: str) -> None:
    scenario, problems = links.from_text(text, kind)
    assert scenario == Scenario()
    assert len(problems) == 1 and words in problems[0]
    harmless(problems)


def test_files_are_read_by_their_ending(tmp_path: Path) -> None:
    scenario = Scenario(concurrency=64, purchase="spot")
    for name, text in (
        ("a.yaml", links.to_yaml(scenario)), ("b.YML", links.to_yaml(scenario, True)),
        ("c.json", links.to_json(scenario)), ("d.json", "\ufeff" + links.to_json(scenario)),
    ):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert links.load_file(tmp_path / name) == (scenario, [])


@pytest.mark.parametrize(
    "text", ['x: !!float ""', 'x: !!int ""', 'x: !!bool "xyz"', 'x: !!timestamp "foo"', "!mine 1"]
)
def test_tags_are_refused_before_anything_is_made_of_them(text: str) -> None:
    scenario, problems = links.from_text(text, "yaml")
    assert scenario == Scenario()
    assert problems == ["The file is not YAML in line 1: tags (!name) are not allowed."]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * 70_000)
    (tmp_path / "picture.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.json").mkdir()
    for name, sentence in {
        "none.yaml": "There is no file 'none.yaml'.",
        "x.toml": "'x.toml' is no .yaml, .yml or .json file.",
        "big.yaml": "'big.yaml' is larger than 65,536 bytes.",
        "picture.json": "'picture.json' cannot be read as text.",
        "folder.json": "'folder.json' is no file.",
    }.items():
        assert links.load_file(tmp_path / name) == (Scenario(), [sentence])


# Documentation -----------------------------------------------------------------------------------


def test_every_key_is_documented(root: Path) -> None:
    text = (root / "docs" / "links.md").read_text(encoding="utf-8")
    for name, info in FIELDS.items():
        assert f"| `{info.key}` | `{name}` | {links.allowed(info)} |" in text, name


def test_of_an_exported_file_only_the_scenario_counts() -> None:
    document = {"scenario": {"serving": {"concurrency": 64}}, "feasible": True, "meta": {"x": "y"}}
    assert links.from_document(document) == (Scenario(concurrency=64), [])
    # Not further inside, and not where it is no scenario.
    for inside in (document, "v=1", 5, [64]):
        scenario, problems = links.from_document({"scenario": {"scenario": inside}})
        assert scenario == Scenario() and len(problems) == 1
        if inside is not document:
            scenario, problems = links.from_document({"scenario": inside})
            assert scenario == Scenario() and len(problems) == 1
