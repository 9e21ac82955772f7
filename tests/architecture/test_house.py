"""Rules of the house that import contracts cannot say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("core", "accounts", "farms", "sales_revenue", "advertising", "dashboards")
NETWORK = {"httpx", "smtplib", "requests", "aiohttp", "urllib3"}
BY_NAME = {"task_named", "enqueue", "enqueue_many"}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_network_libraries_are_imported_in_gateways_only() -> None:
    strangers = [str(path.relative_to(ROOT)) for path, tree in modules() if imported(tree) & NETWORK]
    assert strangers, "the gateways themselves import them"
    assert [path for path in strangers if "/gateways/" not in path] == []


def asked_by_name() -> list[tuple[str, str]]:
    found = []
    for path, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in BY_NAME and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append((first.value, f"{path.relative_to(ROOT)}:{node.lineno}"))
    return found


@pytest.mark.parametrize(("name", "where"), asked_by_name(), ids=[where for _, where in asked_by_name()])
def test_every_task_asked_for_by_name_is_registered(name: str, where: str) -> None:
    current_app.loader.import_default_modules()
    assert name in current_app.tasks, where


def test_a_service_never_raises_a_bare_exception() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") in {"Exception", "BaseException"}
    ]
    assert bare == []


def test_every_app_of_the_house_is_installed() -> None:
    from django.apps import apps

    installed = {config.name for config in apps.get_app_configs()}
    homes = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("apps.py")
    }
    assert homes <= installed


def test_no_document_names_a_path_of_a_machine() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text()
        for hint in ("/root/", "/home/"):
            assert hint not in text, f"{path.name} names {hint}"
