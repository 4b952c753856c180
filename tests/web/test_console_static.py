"""The console's own files: small, without inline code, with colours that can be read."""

import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
SHEET = (WEB / "static" / "app.css").read_text()
SCRIPT = (WEB / "static" / "app.js").read_text()
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
_TOKEN = re.compile(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
TEXT_ON = [
    (text, ground)
    for ground in ("paper", "sheet")
    for text in ("ink", "soft", "accent", "up", "degraded", "down", "connecting", "waiting", "disabled")
] + [("on-accent", "accent"), ("on-accent", "down")]


def test_script_and_sheet_stay_within_their_budgets() -> None:
    assert len(SCRIPT.encode()) <= 25_000
    assert len(SHEET.encode()) <= 20_000


def test_templates_have_no_inline_code_and_trust_no_text() -> None:
    assert len(TEMPLATES) > 20
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", text), path.name
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), path.name
        assert re.findall(r"<script(?![^>]*\bsrc=)", text) == [], path.name


def test_no_file_is_fetched_from_elsewhere() -> None:
    for path in [*TEMPLATES, WEB / "static" / "app.css", WEB / "static" / "app.js"]:
        found = re.findall(r"(?:src|href)=\"(?:[a-z]+:)?//|url\(|@import", path.read_text())
        assert found == [], path.name


def test_the_script_makes_no_markup_from_text() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|ContextualFragment"
    assert re.findall(sinks, SCRIPT) == []
    assert re.findall(r"setTimeout\(\s*[\"'`]|\.style\b|createElement\(\"(?:script|style)\"", SCRIPT) == []


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_colour_can_be_read_on_its_ground(scheme: int) -> None:
    colours = {match[0]: match[1 + scheme] for match in _TOKEN.findall(SHEET)}
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in TEXT_ON}
    assert {pair: round(ratio, 2) for pair, ratio in low.items() if ratio < 4.5} == {}  # WCAG 2.2 1.4.3
    edges = {ground: contrast(colours["edge"], colours[ground]) for ground in ("paper", "sheet")}
    assert {ground: round(ratio, 2) for ground, ratio in edges.items() if ratio < 3} == {}  # 1.4.11


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_every_class_that_templates_use_is_in_the_sheet() -> None:
    styled = set(re.findall(r"\.([a-z][a-z-]*)", SHEET))
    used: set[str] = set()
    for path in TEMPLATES:
        for value in re.findall(r'class="([^"{]*)"', path.read_text()):
            used |= set(value.split())
    assert used - styled == set()
