"""What a student reads: verdicts, diagnoses of exceptions, probes, folded hints."""

import pytest
import torch

from megalodon_edu.exercises import probes
from megalodon_edu.exercises.framework import Diagnosis, exercise


@exercise(success="doubled.", hints=["Think of `x + x`."])
def double(answer):
    x = torch.tensor([1.0, 2.0])
    probes.expect_close(answer(x), 2 * x, "the result", "step", mistakes={"that is the square.": x**2})


def test_a_right_answer_passes_with_the_exercises_own_sentence():
    verdict = double.check(lambda x: x + x)
    assert verdict.passed is True
    assert repr(verdict) == "Yes: doubled."


def test_a_known_mistake_is_called_by_its_name():
    assert repr(double.check(lambda x: x**2)) == "Look again: that is the square."


def test_an_unknown_mistake_is_located():
    verdict = double.check(lambda x: torch.tensor([2.0, 5.0]))
    assert verdict.message == "the result first differs at step 1: yours 5, expected 4."


def test_nan_is_a_difference():
    assert "yours nan" in double.check(lambda x: x * torch.nan).message


def test_an_exception_is_reported_with_type_message_and_line():
    def answer(x):
        return x + undefined

    message = double.check(answer).message
    assert "NameError: name 'undefined' is not defined" in message
    assert "`return x + undefined" in message


def test_an_exception_inside_torch_points_at_the_students_line():
    def answer(x):
        return torch.cat([x, x[None]])

    assert "`return torch.cat([x, x[None]])`" in double.check(answer).message


def test_torchs_own_not_implemented_error_is_no_stub():
    def answer(x):
        raise_inside_a_library = torch.nn.Module()
        return raise_inside_a_library(x)

    assert double.check(answer).passed is False


def test_a_result_of_the_wrong_kind_is_reported():
    verdict = double.check(lambda x: "two")
    assert verdict.passed is False
    assert "could not use what your code returned" in verdict.message


def test_a_function_without_a_return_is_told_so():
    def answer(x):
        x + x

    verdict = double.check(answer)
    assert verdict.passed is None
    assert "returns nothing" in verdict.message


def test_other_arguments_than_the_stubs_are_noticed():
    verdict = double.check(lambda: 4)
    assert verdict.passed is False
    assert "cannot be called with the arguments of the stub (too many positional arguments)" in verdict.message


def test_a_result_handed_over_instead_of_the_function_is_noticed():
    verdict = double.check(4)
    assert verdict.message == "hand the function itself to the check, without calling it; it got an int."


def test_a_changed_argument_is_noticed_and_named():
    def answer(numbers):
        return numbers.mul_(2)

    assert "changes its argument `numbers` in place" in double.check(answer).message


def test_an_exercise_can_ask_for_a_class():
    @exercise(success="built.", hints=["Write it."])
    def doubler(answer):
        if answer()(2) != 4:
            raise Diagnosis("not doubled.")

    class Right:
        def __call__(self, x):
            return 2 * x

    class Broken:
        def __call__(self, x):
            return 2 * x / 0

    assert doubler.check(Right).passed is True
    assert "`return 2 * x / 0`" in doubler.check(Broken).message


def test_an_exercise_can_ask_for_a_number():
    @exercise(success="four.", hints=["Add."])
    def sum_of_two_and_two(answer):
        if probes.expect_number(answer, "your sum") != 4:
            raise Diagnosis("that is not the sum.")

    assert sum_of_two_and_two.check(4).passed is True
    assert sum_of_two_and_two.check(5).passed is False
    assert sum_of_two_and_two.check(...).passed is None


def test_html_escapes_code_and_marks_it():
    @exercise(success="`a < b`.", hints=["Is `1 < 2`?"])
    def smaller(answer):
        answer()

    html = smaller.check(lambda: True)._repr_mimebundle_()["text/html"]
    assert "<code>a &lt; b</code>" in html
    assert (
        "<summary>Hint 1</summary><p>Is <code>1 &lt; 2</code>?</p>" in smaller.hint()._repr_mimebundle_()["text/html"]
    )


def test_an_exercise_without_hints_is_refused():
    with pytest.raises(ValueError, match="hints of bare must hold at least one sentence"):

        @exercise(success="yes.", hints=[])
        def bare(answer):
            answer()


def test_causality_names_both_steps():
    with pytest.raises(Diagnosis, match="at step 6 changed when I changed the input at step 7"):
        probes.expect_causal(lambda x: x + x.roll(-1, 1) * (torch.arange(12) < 11)[:, None], probes.signal())


def test_a_causal_function_passes():
    probes.expect_causal(lambda x: x.cumsum(1), probes.signal())


def test_an_output_that_is_nan_everywhere_does_not_pass_for_a_look_into_the_future():
    probes.expect_causal(lambda x: x * torch.nan, probes.signal())


@pytest.mark.parametrize(("value", "kind"), [(None, "None"), ([1], "a list"), (1, "an int")])
def test_a_wrong_kind_is_named(value, kind):
    with pytest.raises(Diagnosis, match=f"should be a tensor .*, yours is {kind}"):
        probes.expect_shape(value, (2,), "it", "step")


def test_streaming_accepts_a_carried_state():
    def running_sum(x, state):
        y = x.cumsum(1) + (0 if state is None else state[:, None])
        return y, y[:, -1]

    probes.expect_streams(running_sum, probes.signal())


def test_streaming_notices_a_dropped_state():
    with pytest.raises(Diagnosis, match="as if nothing had happened before step 5"):
        probes.expect_streams(lambda x, state: (x.cumsum(1), x.sum(1)), probes.signal())


@pytest.mark.parametrize("value", [True, "1", [1], torch.ones(2)])
def test_a_number_is_told_from_other_things(value):
    with pytest.raises(Diagnosis, match="should be a number"):
        probes.expect_number(value, "it")
