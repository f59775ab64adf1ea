"""Malformed links and files never raise; ``make fuzz`` tries more and says how long they take."""

from __future__ import annotations

import pytest

from bench import fuzz
from cpi_model.catalog import catalog
from cpi_model.scenario import Scenario
from cpi_model.studies.answer import answer

LINKS, FILES, ESTIMATES = 3_000, 170, 60


def test_no_link_raises() -> None:
    for link in fuzz.broken_links(LINKS):
        fuzz.open_link(link)


def test_what_is_left_of_a_link_is_estimated_or_refused_in_words() -> None:
    for link in fuzz.broken_links(ESTIMATES, seed=1):
        result = answer(fuzz.open_link(link), catalog())
        assert result.feasible or result.reasons


@pytest.mark.parametrize("reader", fuzz.READERS, ids=[reader.name for reader in fuzz.READERS])
def test_no_file_raises(reader: fuzz.Reader) -> None:
    refused = 0
    for name, content in fuzz.broken_files(reader, FILES):
        found = fuzz.read_file(reader, name, content)
        refused += found is None
        if found is not None:
            reader.use(found)
    assert refused < FILES


@pytest.mark.parametrize("reader", fuzz.READERS, ids=[reader.name for reader in fuzz.READERS])
def test_what_they_are_broken_from_is_read(reader: fuzz.Reader) -> None:
    for name, text in reader.seeds():
        assert reader.read(name, text.encode()) is not None


def test_the_same_again_is_the_same() -> None:
    assert list(fuzz.broken_links(50)) == list(fuzz.broken_links(50))
    assert fuzz.open_link("v=1&tp=4") == Scenario(tensor_parallel=4)
