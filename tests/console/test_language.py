"""Both languages are complete, and a visitor gets the right one."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest
from jinja2 import nodes

from headwater.console import app, function_forms
from headwater.console.language import LANGUAGES, catalogue, negotiate
from headwater.console.navigation import GROUPS
from headwater.console.pages import domain
from headwater.console.render import TEMPLATES, Pages
from headwater.domains.errors import _CATALOG
from support.console_site import Site, Visitor

SOURCES = Path(app.__file__).parent


def texts_in_templates() -> set[str]:
    """Every text that a template asks for."""
    environment = Pages().environment
    found = set()
    for file in TEMPLATES.glob("*.html"):
        for call in environment.parse(file.read_text()).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "_" and isinstance(call.args[0], nodes.Const):
                found.add(str(call.args[0].value))
    return found


def texts_in_code() -> set[str]:
    """Every text that a page says, and the tables whose texts the templates translate."""
    found = {text for group in GROUPS for text in (group.title, *(item.text for item in group.items)) if text}
    found |= {text for _, text, _ in domain.TABS}
    found |= set(function_forms.texts())
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("say", "done"):
                found |= {
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id in ("_FAILED", "titles", "texts")
            ):
                found |= {
                    part.value
                    for part in ast.walk(node.value)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return found - {"start", "stop", "delete", "enable", "disable"}


def test_chinese_says_everything_and_nothing_more() -> None:
    wanted = texts_in_templates() | texts_in_code()
    have = set(catalogue("zh").texts)
    assert wanted - have == set(), "not translated"
    assert have - wanted == set(), "no longer used"


def test_a_translation_fills_in_the_same_values() -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for english, chinese in catalogue("zh").texts.items():
        assert names(english) == names(chinese), english
        assert chinese.strip(), english


def test_every_error_is_explained_in_chinese_and_none_that_is_not_there() -> None:
    assert set(_CATALOG) - set(catalogue("zh").errors) == set(), "not explained"
    for language in LANGUAGES:
        assert set(catalogue(language).errors) - set(_CATALOG) == set(), "no longer used"


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        ("", "", "en"),
        ("zh", "en", "zh"),
        ("xx", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en-US,en;q=0.9,zh;q=0.8", "en"),
        ("", "fr, zh;q=0.1", "zh"),
        ("", "de,ja", "en"),
        ("", "zh;q=x, en;q=0.5", "en"),
        ("", "zh;q=0, en", "en"),
        ("", "," * 9999, "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_browsers(cookie: str, header: str, language: str) -> None:
    assert negotiate(cookie, header) == language


async def test_a_page_changes_its_language_and_colours_and_stays(site: Site) -> None:
    visitor = Visitor(site)
    page = await visitor.get("/sign-in", **{"accept-language": "zh-CN"})
    assert 'lang="zh-CN"' in page.html
    assert "登录" in page.text
    page = await visitor.post("/preferences", {"language": "en", "back": "/sign-in"}, page="/sign-in")
    assert 'lang="en"' in page.html
    page = await visitor.post("/preferences", {"theme": "dark", "back": "/sign-in"}, page="/sign-in")
    assert 'data-theme="dark"' in page.html
    assert not re.search(r"[\u4e00-\u9fff]", page.html.replace("中文", ""))
