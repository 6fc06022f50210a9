"""What an explorer makes of the page around it, and what it says in words."""

import pytest

from megalodon_edu.explorers import DecayMixExplorer, EMAExplorer, MemoryWallExplorer

DARK = """
([where, name, value]) => new Promise((done) => {
  document[where].setAttribute(name, value);
  setTimeout(() => done(document.querySelector(".mx").classList.contains("mx-dark")), 100);
})
"""


@pytest.mark.parametrize(
    ("where", "name", "dark", "light"),
    [
        ("body", "data-jp-theme-light", "false", "true"),
        ("body", "data-vscode-theme-kind", "vscode-dark", "vscode-light"),
        ("body", "data-vscode-theme-kind", "vscode-high-contrast", "vscode-high-contrast-light"),
        ("documentElement", "data-theme", "dark", "light"),
        ("body", "style", "color: white", "color: black"),
    ],
)
def test_an_explorer_follows_the_theme_of_the_page(where, name, dark, light, mount):
    page = mount(EMAExplorer())
    assert page.evaluate(DARK, [where, name, dark]) is True
    assert page.evaluate(DARK, [where, name, light]) is False


def test_the_colour_of_the_text_is_read_again_when_the_explorer_gets_its_place(mount):
    page = mount(EMAExplorer())
    page.evaluate('document.querySelector(".mx").parentElement.style.color = "white"')
    page.set_viewport_size({"width": 700, "height": 900})
    page.locator(".mx.mx-dark").wait_for()


@pytest.mark.parametrize(("context", "words"), [(2000, "the state is 1.14 times"), (32_768, "the cache is 14.0 times")])
def test_the_larger_of_cache_and_state_is_named(context, words, mount):
    assert f"{words} as large" in mount(MemoryWallExplorer(context=context)).locator(".mx-sentence").first.inner_text()


def test_what_logarithmic_axes_cannot_show_is_said(mount):
    page = mount(DecayMixExplorer(target="delay by T steps"))
    assert "no place on logarithmic axes" in page.locator(".mx-sentence").inner_text()
    page.get_by_label("Axes").select_option("linear")
    assert "no place on logarithmic axes" not in page.locator(".mx-sentence").inner_text()
