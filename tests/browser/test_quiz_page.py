"""The quiz in a browser: on a static page by the keyboard alone, and in JupyterLab."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from test_jupyterlab import Server, run_all

from megalodon_edu.exercises.questions import page_html, questions

CHOICE, NUMBER = (
    next(question for question in questions() if question.chapter == "04" and question.numeric is numeric)
    for numeric in (False, True)
)


@pytest.fixture
def quiz_page(page):
    """The questions of chapter 04 on a page of their own, which asks nobody for anything."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(f'<!doctype html><html lang="en"><body>{page_html(["04"])}</body></html>')
    yield page
    assert [url for url in asked if not url.startswith(("about:", "data:"))] == []


def asked(page, question):
    return page.locator(f'[data-question="{question.id}"]')


def test_a_choice_is_answered_by_the_keyboard_and_each_wrong_one_has_its_own_reason(quiz_page):
    block = asked(quiz_page, CHOICE)
    said = []
    block.get_by_role("radio").first.focus()
    quiz_page.keyboard.press("Space")
    for choice in CHOICE.shown:
        quiz_page.keyboard.press("Enter")
        feedback = block.locator(".mq-feedback").inner_text()
        assert feedback.startswith("Yes:" if choice.right else "Look again:")
        assert choice.why.replace("`", "") in feedback
        said.append(feedback)
        quiz_page.keyboard.press("ArrowDown")
    assert len(set(said)) == len(CHOICE.choices)
    assert quiz_page.locator(".mq-score").inner_text().startswith("1 of 4 right")


@pytest.mark.parametrize("text", ["7/3", "2.333", " 2,333 ", "2.333 units"])
def test_a_number_is_understood_however_it_is_written(text, quiz_page):
    block = asked(quiz_page, NUMBER)
    block.get_by_role("textbox").fill(text)
    quiz_page.keyboard.press("Enter")
    assert block.locator(".mq-feedback").inner_text().startswith("Yes:")
    assert quiz_page.locator(".mq-score").inner_text() == "1 of 4 right, 1 at the first try."


def test_known_slips_are_named_and_other_numbers_get_a_direction(quiz_page):
    block = asked(quiz_page, NUMBER)
    for text, words in [
        ("20/9", NUMBER.slips[0].why),
        ("1", "too small"),
        ("99", "too large"),
        ("many", "Give a number"),
        ("", "Give a number"),
    ]:
        block.get_by_role("textbox").fill(text)
        block.get_by_role("button", name="Check").click()
        assert words in block.locator(".mq-feedback").inner_text()
    block.get_by_role("button", name="Show the answer").click()
    assert NUMBER.explanation in block.locator(".mq-feedback").inner_text()
    assert quiz_page.locator(".mq-score").inner_text().startswith("0 of 4 right")
    block.get_by_role("textbox").fill("7/3")
    block.get_by_role("button", name="Check").click()
    assert quiz_page.locator(".mq-score").inner_text().startswith("0 of 4 right"), "who was told has not found out"


def test_an_answer_with_commas_for_thousands(page):
    page.set_content(f"<body>{page_html(['00'])}</body>")
    block = page.locator('[data-question="cache-bytes"]')
    for text in ("524,288", "524288", "524 288"):
        block.get_by_role("textbox").fill(text)
        block.get_by_role("button", name="Check").click()
        assert block.locator(".mq-feedback").inner_text().startswith("Yes:"), text


def test_two_quizzes_of_one_chapter_do_not_share_their_buttons(page):
    page.set_content(f"<body>{page_html(['03'])}{page_html(['03'])}</body>")
    first, second = (page.locator(".mq").nth(place).get_by_role("radio").first for place in (0, 1))
    first.check()
    second.check()
    assert first.is_checked() and second.is_checked()


def test_the_theme_is_followed_and_nothing_is_wider_than_a_phone(quiz_page):
    quiz_page.set_viewport_size({"width": 360, "height": 740})
    assert quiz_page.evaluate("document.documentElement.scrollWidth") <= 360
    assert quiz_page.locator(".mq.mq-dark").count() == 0
    quiz_page.evaluate('document.documentElement.dataset.theme = "dark"')
    quiz_page.locator(".mq.mq-dark").wait_for()


@pytest.mark.timeout(420)
def test_the_quiz_lives_in_jupyterlab_and_keeps_its_keys(browser, page, tmp_path):
    server = Server(tmp_path, "jupyterlab")
    try:
        server.wait()
        cells = [new_code_cell(f"{n} + 1") for n in range(6)]
        cells.append(new_code_cell('from megalodon_edu.exercises import quiz\nquiz("04")'))
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "notebooks" / "quiz.ipynb")
        page.set_default_timeout(60_000)
        page.goto(server.url("lab/tree/quiz.ipynb"))
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(state="attached")
        server.wait_for_kernel("quiz.ipynb")
        run_all(page)
        block = asked(page, CHOICE)
        block.get_by_role("radio").first.focus()
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        second = CHOICE.shown[1]
        assert second.why.replace("`", "") in block.locator(".mq-feedback").inner_text()
        field = asked(page, NUMBER).get_by_role("textbox")
        field.focus()
        page.keyboard.type("7/3 dd")
        assert field.input_value() == "7/3 dd" and page.locator(".jp-CodeCell").count() == 7, "keys stay in the field"
    finally:
        server.stop()
