"""The package as others get it: a wheel in an environment that has never seen this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Nothing of the tests' own surroundings may lead the child back into the checkout.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CPI_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (
        f"{command[0]} exits {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, root,
        cwd=target,
    )  # fmt: skip
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts folder of an environment with the wheel and, borrowed, what it depends on."""
    folder = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(folder, with_pip=False)
    paths = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    scripts, site_packages = Path(paths["scripts"]), Path(paths["purelib"])
    run(
        sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet",
        "--no-deps", "--no-index", "--disable-pip-version-check", wheel,
        cwd=folder,
    )  # fmt: skip
    # A folder named in a .pth file comes after site-packages itself, and .pth files inside it are
    # not read: dependencies are found there, the checkout's editable install is not.
    borrowed = sysconfig.get_paths()["purelib"]
    (site_packages / "borrowed_dependencies.pth").write_text(borrowed + "\n", encoding="utf-8")
    return scripts


def test_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "cpi_model/evaluate.py" in names
    assert "cpi_model/data/accelerators/h100-sxm.toml" in names
    # What is no Python: a page's template and its style.
    assert {"cpi_model/export/onepage.typ", "cpi_model/export/standalone.css"} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cpi_model"}


def test_wheel_holds_all_data(wheel: Path, root: Path) -> None:
    ours = {p.relative_to(root).as_posix() for p in (root / "data").rglob("*") if p.is_file()}
    shipped = {name.removeprefix("cpi_model/") for name in zipfile.ZipFile(wheel).namelist()}
    assert ours <= shipped


def test_installed_command_answers_far_from_the_checkout(
    installed: Path, root: Path, tmp_path: Path
) -> None:
    where = run(
        installed / "python", "-c", "import cpi_model; print(cpi_model.__file__)", cwd=tmp_path
    ).stdout.strip()
    assert Path(where).is_relative_to(installed.parent)
    assert not Path(where).is_relative_to(root)

    answer = json.loads(run(installed / "cpi", "estimate", "--json", cwd=tmp_path).stdout)
    assert answer["feasible"] is True
    assert answer["cost_per_inference_usd"] > 0
    parts = answer["components_usd"]
    assert set(parts) == {"compute", "memory", "storage", "network", "orchestration"}
    assert sum(parts.values()) == pytest.approx(answer["cost_per_inference_usd"], rel=1e-9)


def modules_after(statement: str, cwd: Path) -> set[str]:
    program = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(run(sys.executable, "-c", program, cwd=cwd).stdout))


def test_import_is_light(root: Path) -> None:
    assert not modules_after("import cpi_model", root) & {"streamlit", "plotly", "pandas"}


def test_an_estimate_needs_no_screen_and_no_tables(root: Path) -> None:
    loaded = modules_after("import cpi_model.evaluate, cpi_model.inputs, cpi_model.catalog", root)
    assert not loaded & {"streamlit", "plotly", "pandas"}


def test_only_a_running_simulation_needs_the_compiler(root: Path) -> None:
    for statement in (
        "import cpi_model.studies.replica",
        "import cpi_model.__main__",
        "from cpi_model.studies import batching",
        "import cpi_model.ui",
    ):
        assert not modules_after(statement, root) & {"numba", "llvmlite"}, statement
