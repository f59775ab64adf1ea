"""Malformed links and files by the thousand, the same every time: ``make fuzz``.

Each is a valid one with something broken: cut off, glued together, numbers beyond any range, signs
that no text should have, packed bombs. Nothing may raise. The tests take fewer of them; this prints
how long the slowest of each kind took, one JSON line a figure, and exits 1 when one raised.
"""

from __future__ import annotations

import base64
import json
import math
import random
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import (
    correction,
    fleet,
    measurements,
    recordings,
    traces,
    uploads,
    validate,
)
from cpi_model.studies.answer import answer

LINKS, FILES, ESTIMATED = 20_000, 2_000, 20
"""How many ``make fuzz`` tries, and of how many links one is estimated as well."""
GOAL = "under 100"
"""Milliseconds that reading one may take. To estimate what is left of it, or to find the nearest
that works where nothing does, may take longer."""
LONGEST = 30_000
"""Characters of a broken text; what is longer is cut."""
SEED = 20_260_511
UPLOADS = Path(__file__).resolve().parent.parent / "tests" / "uploads"

SIGNS = (
    "", "\0", "\x1b[31m", "\r", "\r\n", "\n", "\t", ",", ";", "\"", "'", "`", "&", "=", "?", "#",
    "%", "%00", "%ff%fe", "%", "+", "~", "!", "\\", "/", "../../../etc/passwd", "{", "}", "[", "]",
    "[" * 3000, "{\"a\":" * 2000, "- " * 1500, "\u202e", "\u2028", "\ufeff", "\ud800", "\U0001f4a9",
    "é" * 50, "٣", "１２", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "**b**",
    "$\\frac{1}{0}$", ":material/warning:", "=1+1", "@SUM(A1)", "&a *a",
    "!!python/object:os.system",
    "null", "true", "~", "yes", "{{7*7}}", "__class__", "%(x)s", "x" * 5000,
)  # fmt: skip
"""What is put where it does not belong."""
NUMBERS = (
    "0", "-0", "-1", "1e308", "1e309", "-1e309", "1e-320", "nan", "NaN", "inf", "-Infinity",
    "1_000", "0x10", "1e", "1e99999999", "9" * 400, "9" * 5000, "0.1.2", "1,5", "٣", "2147483648",
    "9223372036854775808", "1970-01-01", "9999-12-31T23:59:59", "2026-02-30", "99999-01-01",
    "2026-05-10T10:00:00+99:99", " 5 ", "5 ", "+5", "5.0", "true",
)  # fmt: skip
"""What is put in the place of a number."""


@dataclass(frozen=True)
class Reader:
    """Something that reads what people bring in."""

    name: str
    seeds: Callable[[], tuple[tuple[str, str], ...]]
    """Names and texts of valid files."""
    read: Callable[[str, bytes], object]
    """Reads a file; raises what :data:`REFUSALS` names, or nothing."""
    use: Callable[[object], object]
    """What the app does with what was read."""


REFUSALS = (validate.UnusableTable,)
"""Their message is a sentence for the reader; anything else that is raised is a fault."""


# Links -------------------------------------------------------------------------------------------


def broken_links(count: int, seed: int = SEED) -> Iterator[str]:
    """Addresses of which most are malformed."""
    draw = random.Random(seed)
    for _ in range(count):
        link = links.encode(_scenario(draw), _compared(draw) if draw.random() < 0.2 else None)
        match draw.randrange(8):
            case 0:
                link = "v=1&z=" + _token(draw, link)
            case 1:
                pairs = [f"{quote(_key(draw))}={quote(_value(draw), errors='replace')}"
                         for _ in range(draw.choice((1, 3, 20, 400)))]  # fmt: skip
                link = "&".join(pairs)
            case 2:
                link += "".join(f"&{key}={_value(draw)}" for key in draw.sample(_KEYS, 3))
            case 3:
                link = f"http://{draw.choice(SIGNS)[:40]}/{draw.choice(SIGNS)[:40]}?{link}"
                link = _broken(draw, link)
            case _:
                link = _broken(draw, link)
        yield link


def open_link(link: str) -> Scenario:
    """Read a link as text and as the parameters of an address; both give a scenario."""
    scenario, problems = links.decode(link)
    compared, refused = links.decode_comparison(link)
    assert set(compared) <= set(links.LETTERS)
    try:
        params = dict(parse_qsl(urlsplit("?" + link).query, keep_blank_values=True))
    except ValueError:
        params = {}
    again, more = links.from_params(params)
    assert Scenario.model_validate(again.model_dump()) == again
    assert links.decode(links.encode(scenario)) == (scenario, [])
    assert all(line.isprintable() and len(line) < 1000 for line in (*problems, *refused, *more))
    return scenario


def _scenario(draw: random.Random) -> Scenario:
    """Some fields at their ends, or somewhere between."""
    values: dict[str, object] = {}
    for name in draw.sample(sorted(FIELDS), draw.choice((0, 1, 3, 10, 60))):
        info = FIELDS[name]
        if info.kind == "choice":
            values[name] = draw.choice(info.choices)
        elif info.kind == "text":
            values[name] = draw.choice(_ids())
        elif info.minimum is not None and info.maximum is not None:
            between = draw.uniform(info.minimum, min(info.maximum, info.minimum + 100))
            value = draw.choice((info.minimum, info.maximum, between))
            values[name] = int(value) if info.kind == "int" else float(value)
    return Scenario().model_copy(update=values)


def _compared(draw: random.Random) -> dict[str, links.Named]:
    """Scenarios side by side, with names that people may have given them."""
    letters = links.LETTERS[: draw.randrange(1, len(links.LETTERS) + 1)]
    return {
        each: links.Named(draw.choice(SIGNS).replace("\ud800", "")[:60], _scenario(draw))
        for each in letters
    }


@cache
def _ids() -> tuple[str, ...]:
    """Names of the catalog that fields hold, whether they fit the field or not."""
    facts = catalog()
    known = (facts.models, facts.accelerators, facts.schemes, facts.engines, facts.instances)
    return tuple(id for things in known for id in things)


_KEYS = sorted({info.key for info in FIELDS.values()} | {"v", links.PACKED, *links.LETTERS})


def _key(draw: random.Random) -> str:
    return draw.choice(_KEYS) if draw.random() < 0.8 else draw.choice(SIGNS).replace("\ud800", "")


def _value(draw: random.Random) -> str:
    return draw.choice(NUMBERS if draw.random() < 0.5 else SIGNS)


def _token(draw: random.Random, text: str) -> str:
    """A packed text: cut off, of something else, or one that unfolds to a thousand times itself."""
    match draw.randrange(4):
        case 0:
            packed = links.pack(_scenario(draw))
            return packed[: draw.randrange(len(packed) + 1)]
        case 1:
            content = draw.choice((b"\0", b"~", b"9")) * draw.choice((70_000, 1_000_000))
        case 2:
            content = links.BETWEEN.join(_value(draw) for _ in range(draw.randrange(200))).encode(
                errors="replace"
            )
        case _:
            return quote(_broken(draw, links.pack(_scenario(draw))), errors="replace")
    return base64.urlsafe_b64encode(zlib.compress(content, 1, wbits=-15)).decode().rstrip("=")


# Files -------------------------------------------------------------------------------------------


def broken_files(reader: Reader, count: int, seed: int = SEED) -> Iterator[tuple[str, bytes]]:
    """Names and contents of files of one kind, of which most are malformed."""
    draw = random.Random(f"{seed} {reader.name}")
    seeds = reader.seeds()
    for number in range(count):
        name, text = draw.choice(seeds)
        if draw.random() < 0.1:
            name = draw.choice(SIGNS)[:200] + name
        if number % 10 == 0:
            yield name, _bytes(draw, text)
        else:
            yield name, _broken(draw, text).encode("utf-8", errors=draw.choice(ERRORS))


ERRORS = ("replace", "surrogatepass", "ignore")


def _bytes(draw: random.Random, text: str) -> bytes:
    """No text at all, or text that something has packed or encoded."""
    content = text.encode()
    match draw.randrange(6):
        case 0:
            return draw.choice(uploads.PACKED) + draw.randbytes(draw.choice((0, 5, 500)))
        case 1:
            return draw.randbytes(draw.choice((0, 1, 100, 5000)))
        case 2:
            return text.encode("utf-16")
        case 3:
            return zlib.compress(content)
        case 4:
            return content[: draw.randrange(len(content) + 1)] + b"\xff\xfe\x80" + content
        case _:
            return b"\xef\xbb\xbf" + content


def _broken(draw: random.Random, text: str) -> str:
    """A text with one to four things wrong."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        here, there = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        match draw.randrange(8):
            case 0:
                text = text[:here]
            case 1:
                text = text[:here] + text[there:]
            case 2:
                text = text[:here] + draw.choice(SIGNS) + text[here:]
            case 3:
                text = text[:there] + text[here:]
            case 4 | 5:
                text = _other_number(draw, text)
            case 6:
                sign = chr(draw.choice((0, 7, 34, 44, 10, 0x80, 0x2028)))
                text = text[:here] + sign + text[here:]
            case _:
                text = text[:here] + text[here:there] * draw.choice((2, 50)) + text[there:]
        text = text[:LONGEST]
    return text


def _other_number(draw: random.Random, text: str) -> str:
    """One run of digits replaced."""
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    if not digits:
        return text + draw.choice(NUMBERS)
    begin = end = draw.choice(digits)
    while begin and text[begin - 1] in "0123456789.":
        begin -= 1
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    return text[:begin] + draw.choice(NUMBERS) + text[end:]


def read_file(reader: Reader, name: str, content: bytes) -> object | None:
    """What was read of a file; None where it was refused."""
    try:
        return reader.read(name, content)
    except REFUSALS as refusal:
        assert str(refusal).isprintable() and len(str(refusal)) < 1000
        return None


def _scenario_files() -> tuple[tuple[str, str], ...]:
    given = Scenario(tensor_parallel=4, concurrency=64, pue=1.3)
    return (
        ("scenario.json", links.to_json(given)), ("all.json", links.to_json(given, True)),
        ("scenario.yaml", links.to_yaml(given)), ("all.yaml", links.to_yaml(given, True)),
    )  # fmt: skip


def _read_scenario(name: str, content: bytes) -> object:
    return links.from_file(name, content)


def _use_scenario(read: object) -> object:
    assert isinstance(read, tuple)
    scenario, problems = read
    assert all(line.isprintable() and len(line) < 1000 for line in problems)
    return links.decode(links.encode(scenario)) == (scenario, [])


@cache
def _measurement_files() -> tuple[tuple[str, str], ...]:
    rows = [row for row in measurements.rows() if row["scenario"] == "closed-loop"][:6]
    table = "\n".join(",".join(cells) for cells in (list(rows[0]), *(row.values() for row in rows)))
    reports = [(path.name, path.read_text(encoding="utf-8")) for path in UPLOADS.glob("*.json")]
    return (("runs.csv", table), *sorted(reports))


def _read_measurements(name: str, content: bytes) -> object:
    return uploads.read(name, content, Scenario(), catalog())


def _use_measurements(read: object) -> object:
    assert isinstance(read, uploads.Upload)
    validate.validate(read.rows, catalog())
    return correction.propose(read.rows, Scenario(), catalog())


def _recording_files() -> tuple[tuple[str, str], ...]:
    begin = 1_778_000_000
    hours = [f"{begin + 3600 * hour},{100 + 7 * hour % 50}" for hour in range(100)]
    days = [f"2026-05-{day + 1:02};{day * 10}" for day in range(28)]
    single = [f"{second * 1.7:.3f}" for second in range(300)]
    return (
        ("hours.csv", "\n".join(("time,requests", *hours))),
        ("days.csv", "\n".join(("date;count", *days))),
        ("single.csv", "\n".join(("timestamp", *single))),
    )


def _use_recording(read: object) -> object:
    assert isinstance(read, recordings.Recording)
    assert all(line.isprintable() and len(line) < 1000 for line in (*read.problems, *read.notes))
    if read.trace is None:
        assert read.problems
        return None
    return traces.statistics(read.trace), traces.implied(read.trace)


def _fleet_files() -> tuple[tuple[str, str], ...]:
    return (("fleet.csv", fleet.EXAMPLE.read_text(encoding="utf-8")),)


def _use_fleet(read: object) -> object:
    assert isinstance(read, fleet.Table)
    try:
        return fleet.checked(read, catalog())
    except REFUSALS:
        return None


READERS = (
    Reader("scenario", _scenario_files, _read_scenario, _use_scenario),
    Reader("measurements", _measurement_files, _read_measurements, _use_measurements),
    Reader("recording", _recording_files, recordings.read, _use_recording),
    Reader("fleet", _fleet_files, fleet.read, _use_fleet),
)
"""Everything that reads a file of a person."""


# Trying them -------------------------------------------------------------------------------------


class _Timed:
    """Times of one kind of thing, and what raised."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.times: list[float] = []
        self.failures = 0
        self.slowest = ""

    def run(self, call: Callable[[], object], what: str) -> object:
        start = time.process_time()  # a busy machine is not the reader's fault
        try:
            return call()
        except Exception:
            self.failures += 1
            if self.failures <= 3:
                print(f"{self.name}: {what[:2000]!r}\n{traceback.format_exc()}", file=sys.stderr)
            return None
        finally:
            spent = time.process_time() - start
            if not self.times or spent > max(self.times):
                self.slowest = what
            self.times.append(spent)

    def report(self) -> int:
        if self.times:
            figures = {
                f"{self.name}_tried": len(self.times), f"{self.name}_raised": self.failures,
                f"{self.name}_slowest_ms": round(max(self.times) * 1000, 2),
            }  # fmt: skip
            for key, value in figures.items():
                goal = (
                    {"goal": GOAL} if key.endswith(("link_slowest_ms", "file_slowest_ms")) else {}
                )
                print(json.dumps({key: value} | goal), flush=True)
        return self.failures


def main() -> int:
    """Try everything and print what came of it."""
    open_link("v=1")  # what is loaded once is no part of a link's time
    answer(Scenario(), catalog())
    read, estimated = _Timed("link"), _Timed("link_estimate")
    for number, link in enumerate(broken_links(LINKS)):
        scenario = read.run(partial(open_link, link), link)
        # What is left of a link must be estimated or refused in words; that takes a while.
        if number % ESTIMATED == 0 and isinstance(scenario, Scenario):
            estimated.run(partial(answer, scenario, catalog()), links.encode(scenario))
    failures = read.report() + estimated.report()
    for reader in READERS:
        taken, used = _Timed(f"{reader.name}_file"), _Timed(f"{reader.name}_use")
        for name, content in broken_files(reader, math.ceil(FILES / len(READERS))):
            what = f"{name} {content[:1500]!r}"
            found = taken.run(partial(read_file, reader, name, content), what)
            if found is not None:
                used.run(partial(reader.use, found), what)
        failures += taken.report() + used.report()
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
