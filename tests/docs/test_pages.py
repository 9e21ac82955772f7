"""The pages say what is there: links, commands, paths, names, variables and figures are looked up in the code."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import get_commands

from accounts.policy import Action
from core.delivery.rules import Status
from core.jobs.rules import CELERY_STATUS, State
from tests.docs.specification import FILES_NOT_YET, NAMES_NOT_YET, TASKS_NOT_YET
from tests.docs.specification import PAGE as SPECIFIED
from tests.stack.test_env_example import listed

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sandbox/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
ARCHITECTURE = ROOT / "docs/architecture.md"
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}
MADE_WHEN_RUN = {"var", ".venv"}
SPECIFICATION = {"delivery.md"}  # cited by name, not a file here
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def spans(page: Path) -> list[str]:
    """What stands in `backticks`, outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text()))


def code(page: Path) -> str:
    """Everything a reader may type: spans, fenced and indented blocks."""
    text = page.read_text()
    fenced = [block for _, block in FENCE.findall(text)]
    indented = re.findall(r"^ {4}(.+)$", FENCE.sub("", text), re.MULTILINE)
    return "\n".join([*spans(page), *fenced, *indented])


def python_blocks(page: Path) -> Iterator[ast.Module]:
    for language, block in FENCE.findall(page.read_text()):
        if language == "python":
            yield ast.parse(textwrap.dedent(block))


def anchors(page: Path) -> set[str]:
    """The headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def resolve(dotted: str) -> Any:
    """What a dotted name stands for: the longest module, then its attributes."""
    parts = dotted.split(".")
    found: Any = import_module(parts[0])
    for depth, part in enumerate(parts[1:], start=2):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = import_module(".".join(parts[:depth]))
        else:
            found = getattr(found, part)
    return found


def missing(names: Iterable[str]) -> list[str]:
    lost = []
    for name in names:
        try:
            resolve(name)
        except (ImportError, AttributeError):
            lost.append(name)
    return lost


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        there = page.parent / name if name else page
        if not there.exists() or (heading and heading not in anchors(there)):
            broken.append(target)
    assert broken == []


@every_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code(page))) <= targets


@every_page
def test_every_management_command_exists(page: Path) -> None:
    assert set(re.findall(r"\bmanage\.py (\w+)", code(page))) <= set(get_commands())


@every_page
def test_every_module_that_is_run_exists(page: Path) -> None:
    modules = re.findall(r"\bpython3? -m ([\w.]+)", code(page))
    assert missing(name for name in modules if name.split(".")[0] in PACKAGES) == []


@every_page
def test_every_path_exists(page: Path) -> None:
    """Spans that begin with a folder of ours or are a file of the top folder."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - MADE_WHEN_RUN
    lost = []
    for span in spans(page):
        path = span.removeprefix("./")
        if path in SPECIFICATION or not re.fullmatch(r"[\w./*-]+", path):
            continue
        first, slash, _ = path.partition("/")
        ours = first in folders if slash else bool(re.fullmatch(r"[\w.-]+\.(?:md|toml|sh|txt|in|example)", path))
        if ours and not list(ROOT.glob(path.rstrip("/"))):
            lost.append(span)
    assert set(lost) - (FILES_NOT_YET if page == SPECIFIED else set()) == set()


@every_page
def test_every_dotted_name_exists(page: Path) -> None:
    names = (span.removesuffix("()") for span in spans(page))
    dotted = [name for name in names if re.fullmatch(r"\w+(\.\w+)+", name) and name.split(".")[0] in PACKAGES]
    invented = {"farms.tasks.remind"}  # the example of CONTRIBUTING.md
    assert missing(set(dotted) - invented - set(Action)) == []


@every_page
def test_every_python_block_is_python_and_its_imports_work(page: Path) -> None:
    lost = []
    for block in python_blocks(page):
        for node in ast.walk(block):
            if isinstance(node, ast.ImportFrom):
                lost += missing(f"{node.module}.{name.name}" for name in node.names)
    assert set(lost) - (TASKS_NOT_YET | NAMES_NOT_YET if page == SPECIFIED else set()) == set()


def test_every_variable_in_the_readme_is_known() -> None:
    named = {span.partition("=")[0] for span in spans(ROOT / "README.md") if re.fullmatch(r"[A-Z_]{4,}(=.*)?", span)}
    assert named <= set(listed())


def test_every_figure_is_the_code_s() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \|$", ARCHITECTURE.read_text(), re.MULTILINE)
    figures = [(name, value) for name, value in rows if name.rpartition(".")[2].isupper()]
    assert len(figures) > 20
    assert [(name, value) for name, value in figures if str(resolve(name)) != value] == []


def test_every_state_is_explained() -> None:
    named = set(spans(ARCHITECTURE))
    assert {str(state) for state in [*State, *Status]} - named == set()


def test_the_status_of_each_state_is_right() -> None:
    text = ARCHITECTURE.read_text().partition("## Results")[2].partition("## ")[0]
    told = {
        state: status
        for states, status in re.findall(r"^\| ([a-z, ]+) \| ([A-Z]+) \|$", text, re.MULTILINE)
        for state in states.split(", ")
    }
    assert told == {str(state): status for state, status in CELERY_STATUS.items()}


def test_the_changelog_has_an_unreleased_section() -> None:
    assert "Unreleased" in re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_decisions_are_numbered_listed_and_complete() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text()
        title = text.splitlines()[0].removeprefix("# ")
        assert title.startswith(path.name[:4])
        assert f"- [{title}](adr/{path.name})" in ARCHITECTURE.read_text()
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_every_folder_is_on_the_map() -> None:
    first_screen = (ROOT / "README.md").read_text().partition("## ")[0]
    assert {name for name in PACKAGES if f"`{name}/`" not in first_screen} == set()
