"""Scenarios as links, JSON and YAML, and back.

A link holds the fields that differ from their defaults, under short keys that never change
meaning: ``?v=1&m=llama-3.1-70b&tp=4``. Where that would grow too long for mail and chat, the values
stand packed under one key. Everything that comes in is hostile: reading never raises, never
evaluates, never works without a bound; what is wrong is listed and left at its default.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml
from pydantic import TypeAdapter, ValidationError

from cpi_model.scenario import FIELDS, GROUPS, KEYS, VERSION, FieldInfo, Scenario, shown_as

MOST_PARAMETERS = 200
LONGEST_VALUE = 200
LONGEST_QUERY = 20_000
LARGEST_FILE = 65_536
MOST_VALUES, DEEPEST = 2_000, 20
"""Of a YAML file, which is read slowly: a whole scenario has 500 values, two deep."""
LONGEST_READABLE = 1_800
"""Characters of a link before its values are packed."""
LARGEST_PACKED = 65_536
"""Characters that a packed text may unfold to."""
SHOWN = 40
"""Characters of somebody's text that a message repeats."""
PACKED = "z"
"""Key of the packed values of a link."""
BETWEEN, NOTHING = "~", "!"
"""What stands between packed values, and for a value that is empty; no value holds either."""

PLAIN = "/,~"
"""Characters beside letters and digits that stand in a link as they are."""
LETTERS = ("A", "B", "C", "D")
"""Keys of the scenarios that are compared; no field has a capital letter for a key."""
NAMED = "~"
"""What stands between the packed values of such a scenario and its name."""
LONGEST_NAME = 40

Fields = dict[str, str]
_IN_ORDER = """
rps peak in out hit burst ocv ok items scale sttft stpot slo sshare m live kept q kv sp spz
pd pw st str trn tre tru trp trt tra dm dk da xs xd cm ce sh sl slp qf cq xq sq stq bq be e
c tp pp dp ep mem bat chunk pre wait kt kf hw i cl reg maxd maxco2 buy price buys maxusd by
disc spotx unused si sr sk sf sm qt op oy ov ow oh ot oc os of vp vc vi vm ai ao ab en eu es
msh sc n min spare util lag nonprod stor obj img log logp reqkb reskb egsh eg xzsh xz lb
lbgb cp mon agent plat oncall pue grid cur fx per basis swing
tr ds ph ww mcv bm spw sph spm seed gm gl gh
pol ptg max pst ptl pcd pco phr psh cns cip cwl ces pql pto oldsh oldmin
"""
PACKED_ORDER = tuple(_IN_ORDER.split())
"""Keys in the order of packed values. New ones go to the end; none is moved or taken out."""
MIGRATIONS: dict[int, Callable[[Fields], Fields]] = {1: dict}
"""From the fields of a link of each version, keys and values as text, to those of today.

A field that changes meaning gets a new version here, so that links that people have sent keep
theirs: ``{1: old_to_new, 2: dict}``.
"""


def _adapter(name: str) -> TypeAdapter[Any]:
    info = Scenario.model_fields[name]
    annotation: Any = info.annotation
    for item in info.metadata:
        annotation = Annotated[annotation, item]
    return TypeAdapter(annotation)


CHECKS: dict[str, TypeAdapter[Any]] = {name: _adapter(name) for name in FIELDS}
"""One check for each field, so that a bad field costs only itself."""


def shown(value: object) -> str:
    """Somebody's text made safe to repeat in a message: printable, short, plain.

    >>> shown("<b>x</b>" + chr(7))
    "'bx/b'"
    """
    try:
        text = str(value)[:LONGEST_VALUE]
    except Exception:  # digits without end, or an object that cannot be written
        return "a value that cannot be shown"
    text = "".join(c for c in text if c.isprintable() and c not in "<>`*[]()#|\\$&~'\"")
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", "", text)  # inside a word it marks nothing
    return f"'{text if len(text) <= SHOWN else text[: SHOWN - 1] + '…'}'"


def allowed(info: FieldInfo) -> str:
    """What a field accepts, in words.

    >>> allowed(FIELDS["tensor_parallel"])
    'a whole number from 1 to 128'
    """
    if info.choices:
        return "one of " + ", ".join(info.choices)
    if info.several:
        return "one or several ids with commas between them, at most 150 characters"
    if info.kind == "text":
        return "an id of at most 60 letters, digits and . _ / -"
    number = "a whole number" if info.kind == "int" else "a number"
    return f"{number} from {_plain_number(info.minimum)} to {_plain_number(info.maximum)}"


def _plain_number(value: float | None) -> str:
    """A limit without exponent: ``0.00001``, ``1,000,000``."""
    return f"{value:,.12f}".rstrip("0").rstrip(".")


def check(name: str, value: object) -> tuple[Any, str]:
    """Value of a field after its check, and a sentence when it is refused (then None)."""
    info = FIELDS[name]
    if value is None or value == "":
        if info.optional:
            return None, ""
        return None, f"{name} is empty, allowed is {allowed(info)}."
    refusal = f"{name} is {shown(value)}, allowed is {allowed(info)}."
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None, refusal
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return None, f"{name} is {len(value):,} characters long, allowed is {allowed(info)}."
    try:
        if info.kind in ("int", "float") and isinstance(value, str):
            value = _number(value)
        return CHECKS[name].validate_python(value), ""
    except (ValidationError, ValueError, OverflowError):
        return None, refusal


def unknown_field(name: object, where: str = "") -> str:
    """A sentence for a field that does not exist, with the nearest that does.

    >>> unknown_field("concurency")
    "There is no field 'concurency'; did you mean concurrency?"
    """
    sentence = f"There is no field {shown(name)}{where}"
    near: list[str] = []
    if isinstance(name, str) and len(name) <= SHOWN:
        near = [KEYS[name]] if name in KEYS else difflib.get_close_matches(name, FIELDS, n=1)
    return f"{sentence}; did you mean {near[0]}?" if near else f"{sentence}."


def _number(text: str) -> float | int:
    """A number as people and programs write it; underscores and the like are refused."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    try:
        return int(text)
    except ValueError:
        return float(text)


def text_of(value: object) -> str:
    """A value as it stands in a link; floats come back exactly.

    >>> text_of(0.1), text_of(2.0), text_of(None)
    ('0.1', '2', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def to_params(scenario: Scenario, compared: Mapping[str, Named] | None = None) -> Fields:
    """Query parameters of a scenario: the version, then what differs from the defaults.

    Packed where they would be longer than ``LONGEST_READABLE``, together with what it is compared
    with.
    """
    beside = comparison_params(compared or {})
    params = {"v": str(VERSION)} | _differing(scenario, Scenario())
    if len(urlencode(params | beside, safe=PLAIN)) > LONGEST_READABLE:
        short = {"v": str(VERSION), PACKED: pack(scenario)}
        if len(urlencode(short)) < len(urlencode(params, safe=PLAIN)):
            params = short
    return params | beside


def _differing(scenario: Scenario, base: Scenario) -> Fields:
    """Keys and texts of the fields in which two scenarios differ."""
    return {
        info.key: text_of(value)
        for name, info in FIELDS.items()
        if (value := getattr(scenario, name)) != getattr(base, name)
    }


def pack(scenario: Scenario, base: Scenario | None = None) -> str:
    """What differs from `base`, or from the defaults, as one short text for a link.

    >>> unpack(pack(Scenario(tensor_parallel=4, concurrency=64)))
    ({'c': '64', 'tp': '4'}, '')
    """
    differing = _differing(scenario, base or Scenario())
    values = [differing.get(key, "") if key in differing else None for key in PACKED_ORDER]
    texts = ["" if value is None else value or NOTHING for value in values]
    squeezed = zlib.compress(BETWEEN.join(texts).rstrip(BETWEEN).encode(), 9, wbits=-15)
    return base64.urlsafe_b64encode(squeezed).decode().rstrip("=")


def unpack(token: str) -> tuple[Fields, str]:
    """Keys and texts of a packed text, and a sentence when it cannot be read. Never raises."""
    refusal = "The packed part of the link cannot be read; was it cut off?"
    if len(token) > LONGEST_QUERY:
        return {}, refusal
    try:
        squeezed = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
        unfolding = zlib.decompressobj(wbits=-15)
        text = unfolding.decompress(squeezed, LARGEST_PACKED).decode("ascii")
    except (binascii.Error, ValueError, zlib.error):
        return {}, refusal
    texts = text.split(BETWEEN)
    if not unfolding.eof or len(texts) > len(PACKED_ORDER):
        return {}, refusal
    named = zip(PACKED_ORDER, texts, strict=False)
    return {key: "" if text == NOTHING else text for key, text in named if text}, ""


def encode(scenario: Scenario, compared: Mapping[str, Named] | None = None) -> str:
    """Query string of a scenario and what it is compared with, without the question mark.

    >>> encode(Scenario(model="llama-3.1-70b", tensor_parallel=4))
    'v=1&m=llama-3.1-70b&tp=4'
    """
    return urlencode(to_params(scenario, compared), safe=PLAIN)


def from_params(
    params: Mapping[str, object], base: Scenario | None = None
) -> tuple[Scenario, list[str]]:
    """Scenario of query parameters, and a sentence for each that was ignored. Never raises.

    What they leave out is as in `base`, or at its default.
    """
    problems: list[str] = []
    if len(params) > MOST_PARAMETERS:
        problems.append(
            f"The link has {len(params):,} parameters, only the first {MOST_PARAMETERS} were read."
        )
    given: Fields = {}
    for key, raw in islice(params.items(), MOST_PARAMETERS):
        if key in LETTERS:
            continue  # read by comparison_from
        if isinstance(key, str) and isinstance(raw, str):
            given[key] = raw
        else:
            problems.append(f"{shown(key)} is no text and was ignored.")
    if (token := given.pop(PACKED, None)) is not None:
        unpacked, problem = unpack(token)
        if problem:
            problems.append(problem)
        given = unpacked | given
    version = given.pop("v", str(VERSION))
    if version in map(str, MIGRATIONS):
        given = MIGRATIONS[int(version)](given)
    else:
        problems.append(
            f"The link is of version {shown(version)}, known is up to {VERSION}; what could be "
            "read was taken."
        )
    values: dict[str, Any] = {}
    for key, text in given.items():
        name = KEYS.get(key)
        if name is None:
            problems.append(f"There is no field {shown(key)} in links of version {VERSION}.")
            continue
        value, problem = check(name, text)
        if problem:
            problems.append(f"{key}: {problem}")
        else:
            values[name] = value
    return _scenario(values, base), problems


def _scenario(values: Mapping[str, Any], base: Scenario | None = None) -> Scenario:
    """Scenario of values that have been checked one by one."""
    return (base or Scenario()).model_copy(update=dict(values))


# Scenarios beside each other ----------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A scenario and what somebody calls it; the name may be empty."""

    name: str
    scenario: Scenario


def plain_name(text: str) -> str:
    """Somebody's name for a scenario: one line, printable, short.

    >>> plain_name("  two" + chr(10) + "H100  ")
    'two H100'
    """
    printable = "".join(c if c.isprintable() else " " for c in text[:LONGEST_VALUE])
    return " ".join(printable.split())[:LONGEST_NAME]


def comparison_params(compared: Mapping[str, Named]) -> Fields:
    """Query parameters of up to four scenarios: the first over the defaults, others over it.

    >>> comparison_params({"A": Named("now", Scenario()), "B": Named("", Scenario(concurrency=64))})
    {'A': 'AwA~now', 'B': 'q6sjEZiZAAA'}
    """
    first = compared["A"].scenario if "A" in compared else Scenario()
    params = {}
    for letter, named in compared.items():
        name = f"{NAMED}{named.name}" if named.name else ""
        params[letter] = pack(named.scenario, Scenario() if letter == "A" else first) + name
    return params


def comparison_from(params: Mapping[str, object]) -> tuple[dict[str, Named], list[str]]:
    """Scenarios that are compared in query parameters, by letter, and a sentence for each problem.

    Never raises. Where the first cannot be read, others that stand over it would be something else
    than was meant, so all are left out.
    """
    found: dict[str, Named] = {}
    problems: list[str] = []
    for letter in LETTERS:
        text = params.get(letter)
        if text is None:
            continue
        token, _, name = text.partition(NAMED) if isinstance(text, str) else ("!", "", "")
        given, problem = unpack(token)
        if problem:
            problems.append(f"Scenario {letter} cannot be read; was the link cut off?")
            if letter == "A":
                return {}, problems
            continue
        version = {"v": params["v"]} if "v" in params else {}
        base = found["A"].scenario if "A" in found else None
        scenario, wrong = from_params(version | given, base)
        problems += [f"Scenario {letter}: {sentence}" for sentence in wrong]
        # How figures are shown is the matter of whoever looks.
        found[letter] = Named(plain_name(name), shown_as(scenario, Scenario()))
    return found, problems


# Whole addresses ---------------------------------------------------------------------------------


def _query(link: str) -> tuple[Fields, list[str]]:
    """Query parameters of a whole address, ``?a=b`` or ``a=b``."""
    if len(link) > LONGEST_QUERY:
        return {}, [
            f"The link is {len(link):,} characters long, at most {LONGEST_QUERY:,} are read."
        ]
    link = link.strip()
    try:
        query = urlsplit(link).query if "?" in link or "://" in link else link
        pairs = parse_qsl(query, keep_blank_values=True)
    except ValueError:
        return {}, ["The link cannot be read."]
    params: dict[str, str] = {}
    twice: dict[str, None] = {}
    for key, value in pairs:
        if key in params:
            twice[key] = None
        else:
            params[key] = value
    problems = [f"{shown(key)} stands twice, the first was taken." for key in islice(twice, 20)]
    if link and not pairs:
        problems.append(f"{shown(link)} holds no scenario: nothing follows a question mark.")
    return params, problems


def decode(link: str) -> tuple[Scenario, list[str]]:
    """Scenario of a link: a whole address, ``?a=b`` or ``a=b``. Never raises."""
    params, problems = _query(link)
    scenario, found = from_params(params)
    return scenario, problems + found


def decode_comparison(link: str) -> tuple[dict[str, Named], list[str]]:
    """Scenarios that a link compares, by letter; none where it holds one scenario. Never raises."""
    params, problems = _query(link)
    compared, found = comparison_from(params)
    return compared, problems + found


# Files -------------------------------------------------------------------------------------------


def to_document(scenario: Scenario, everything: bool = False) -> dict[str, Any]:
    """Scenario as nested values by group: what differs from the defaults, or everything."""
    document: dict[str, Any] = {"version": VERSION}
    for group in GROUPS:
        fields = {
            name: getattr(scenario, name)
            for name, info in FIELDS.items()
            if info.group == group and (everything or getattr(scenario, name) != info.default)
        }
        if fields:
            document[group] = fields
    return document


def to_json(scenario: Scenario, everything: bool = False) -> str:
    """Scenario as JSON."""
    return json.dumps(to_document(scenario, everything), indent=2) + "\n"


def to_yaml(scenario: Scenario, everything: bool = False) -> str:
    """Scenario as YAML, each field with its unit and title."""
    lines = [f"version: {VERSION}"]
    for group, fields in to_document(scenario, everything).items():
        if not isinstance(fields, dict):
            continue
        lines.append(f"{group}:")
        for name, value in fields.items():
            info = FIELDS[name]
            note = f"{info.title}, {info.unit}" if info.unit else info.title
            # The library's own form: YAML takes 1e-05 for a text, and yes for true.
            pair = yaml.safe_dump({name: value}, allow_unicode=True).strip()
            lines.append(f"  {pair}  # {note}")
    return "\n".join(lines) + "\n"


def from_document(document: object) -> tuple[Scenario, list[str]]:
    """Scenario of nested or flat values, and a sentence for each that was ignored. Never raises."""
    if document is None:
        return Scenario(), []
    if not isinstance(document, Mapping):
        return Scenario(), ["The file holds no fields: write FIELD: VALUE, by group or flat."]
    # An exported file, or the output of a command: what it came to is worked out again.
    if isinstance(inside := document.get("scenario"), Mapping):
        document = inside
    problems: list[str] = []
    values: dict[str, Any] = {}

    def take(name: object, value: object, where: str) -> None:
        if not isinstance(name, str) or name not in FIELDS:
            problems.append(unknown_field(name, where))
        elif name in values:
            problems.append(f"{name} stands twice, the first was taken.")
        else:
            checked, problem = check(name, value)
            if problem:
                problems.append(problem)
            else:
                values[name] = checked

    def first(part: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
        if len(part) > MOST_PARAMETERS:
            problems.append(f"Of {len(part):,} fields only the first {MOST_PARAMETERS} were read.")
        return list(islice(part.items(), MOST_PARAMETERS))

    for name, value in first(document):
        if name == "version":
            if isinstance(value, bool) or value != VERSION:
                problems.append(
                    f"The file is of version {shown(value)}, known is up to {VERSION}; what could "
                    "be read was taken."
                )
        elif name in GROUPS and isinstance(value, Mapping):
            for inner, item in first(value):
                take(inner, item, f" in {name}")
        elif name in GROUPS and name not in FIELDS:
            if value is not None:  # a group without fields is empty, not wrong
                problems.append(f"{name} is {shown(value)}, must hold FIELD: VALUE.")
        else:
            take(name, value, "")
    return _scenario(values), problems


class _PlainLoader(yaml.SafeLoader):
    """YAML without references, which can grow a small file beyond any memory, tags and repeats."""

    values = depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES:,} values")
        if self.depth == DEEPEST:
            raise RecursionError
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not allowed")
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="tags (!name) are not allowed", problem_mark=event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if isinstance(key.value, str)]
            _refuse_repeats(names)
        return super().construct_mapping(node, deep)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON object whose names are unique."""
    _refuse_repeats([name for name, _ in pairs])
    return dict(pairs)


def _refuse_repeats(names: list[str]) -> None:
    name, times = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise ValueError(f"{shown(name)} stands twice")


def from_text(text: str, kind: str) -> tuple[Scenario, list[str]]:
    """Scenario of the text of a ``json`` or ``yaml`` file. Never raises."""
    if len(text) > LARGEST_FILE:
        return Scenario(), [f"The file has {len(text):,} characters, at most {LARGEST_FILE:,}."]
    try:
        if kind == "json":
            document = json.loads(text, object_pairs_hook=_without_repeats)
        else:
            if re.search(rf"[\[{{]{{{DEEPEST + 1}}}", text):  # for each the parser looks far ahead
                raise RecursionError
            # A subclass of SafeLoader: no tags, so nothing of Python can be made.
            document = yaml.load(text, Loader=_PlainLoader)
    except json.JSONDecodeError as error:
        return Scenario(), [f"The file is not JSON: line {error.lineno} cannot be read."]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark else ""
        return Scenario(), [f"The file is not YAML{line}: {_plain(error.problem)}."]
    except (ValueError, yaml.YAMLError) as error:
        return Scenario(), [f"The file is not {kind.upper()}: {_plain(str(error))}."]
    except RecursionError:
        return Scenario(), ["The file is nested too deeply."]
    return from_document(document)


def _plain(text: str | None) -> str:
    """One line of a parser's own words, which may repeat what somebody wrote."""
    lines = (text or "cannot be read").strip().splitlines()
    return "".join(c for c in lines[0] if c.isprintable() and c not in "<>`*[]#|\\$&~")[:120]


KINDS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
"""Kinds of files by the end of their names."""


def from_file(name: str, content: bytes) -> tuple[Scenario, list[str]]:
    """Scenario of what is in a file of that name. Never raises."""
    kind = KINDS.get(Path(name).suffix.lower())
    if kind is None:
        return Scenario(), [f"{shown(name)} is no .yaml, .yml or .json file."]
    if len(content) > LARGEST_FILE:
        return Scenario(), [f"{shown(name)} is larger than {LARGEST_FILE:,} bytes."]
    try:
        return from_text(content.decode("utf-8-sig"), kind)
    except ValueError:
        return Scenario(), [f"{shown(name)} cannot be read as text."]


def load_file(path: Path) -> tuple[Scenario, list[str]]:
    """Scenario of a ``.yaml``, ``.yml`` or ``.json`` file, and what is wrong with it."""
    name = shown(path.name)
    if path.suffix.lower() not in KINDS:
        return from_file(path.name, b"")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            return Scenario(), [f"{name} is no file."]
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return Scenario(), [f"There is no file {name}."]
    except (OSError, ValueError):
        return Scenario(), [f"{name} cannot be read as text."]
    return from_file(path.name, content)
