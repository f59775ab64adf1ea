"""What the Dockerfile promises to whoever runs the app for others."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), arguments.strip()) for name, _, arguments in found]


STEPS = steps()
FINAL = STEPS[[at for at, (name, _) in enumerate(STEPS) if name == "FROM"][-1] :]


def of(name: str, among: list[tuple[str, str]] = FINAL) -> list[str]:
    return [arguments for each, arguments in among if each == name]


def test_it_is_the_python_that_the_tests_ran_with() -> None:
    wanted = re.search(r"Python (3\.\d+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert wanted is not None
    images = [image.split()[0] for image in of("FROM", STEPS)]
    assert images == [f"python:{wanted[1]}-slim"] * 2  # of no registry by name


def test_nothing_is_fetched_but_packages_at_their_pinned_versions() -> None:
    assert not of("ADD", STEPS)
    for command in of("RUN", STEPS):
        assert not re.search(r"https?://|curl|wget|git clone|apt", command)
        for install in re.findall(r"pip install[^&|]*", command):
            assert "--constraint constraints.txt" in install
    assert not [step for step in of("COPY", STEPS) if "://" in step]


def test_it_runs_as_nobody_in_particular() -> None:
    (user,) = of("USER")
    assert user not in ("root", "0")
    names = [name for name, _ in FINAL]
    assert not {"RUN", "COPY"} & set(names[names.index("USER") :])
    made = " ".join(of("RUN"))
    assert re.search(rf"useradd .*--uid [1-9]\d{{3,}} .*\b{user}\b", made)


def test_it_says_whether_it_is_well() -> None:
    (check,) = of("HEALTHCHECK")
    (port,) = of("EXPOSE")
    assert f":{port}/_stcore/health" in check
    assert int(re.findall(r"--timeout=(\d+)s", check)[0]) <= 10


def test_what_is_written_goes_to_the_volume_or_to_scratch() -> None:
    settings = dict(
        pair.split("=", 1) for step in of("ENV") for pair in step.split()
    )  # fmt: skip
    (volume,) = of("VOLUME")
    assert settings["CPI_DATABASE_URL"] == f"sqlite:///{volume}/library.db"
    for name in ("HOME", "TMPDIR", "NUMBA_CACHE_DIR"):
        assert settings[name].startswith("/scratch")
    assert settings["PYTHONDONTWRITEBYTECODE"] == "1"


def test_it_starts_the_app_and_watches_no_files() -> None:
    (command,) = of("CMD")
    started = json.loads(command)
    assert started[:3] == ["streamlit", "run", "app.py"]
    assert "--server.fileWatcherType=none" in started


@pytest.mark.parametrize("secret", [".streamlit/secrets.toml", ".git/config", "library.db", ".env"])
def test_nothing_private_gets_into_the_image(secret: str) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert not any(
        fnmatch.fnmatch(secret, rule) or secret.startswith(f"{rule}/") for rule in let_in
    )


def test_everything_that_is_copied_is_let_in_and_there() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        name
        for step in of("COPY", STEPS) if not step.startswith("--from")
        for name in step.split()[:-1]
    }  # fmt: skip
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
