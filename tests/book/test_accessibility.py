"""axe-core finds no serious violation of WCAG 2.1 A and AA, in both themes and at both widths."""

import pytest

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
LOOKS = [(1280, "light"), (390, "dark")]
PAGES = ["index", "03_complex_ema", "13_does_each_part_earn_its_place", "explorers", "quiz", "search"]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("visit", LOOKS, ids=str, indirect=True)
def test_axe_finds_nothing_serious(name, visit):
    page = visit.open(name)
    # Colours fade when the theme is set; axe would read them half-way.
    page.wait_for_timeout(500)
    found = axe.Axe().run(page, options={"runOnly": WCAG, "resultTypes": ["violations"]}).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in serious] == []
