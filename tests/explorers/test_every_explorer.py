import json

import numpy as np
import pytest
import traitlets
from matplotlib.figure import Figure

import megalodon_edu.explorers as explorers
from megalodon_edu.explorers.controls import Choice, Range, RangeList, Switch
from megalodon_edu.explorers.framework import HERE, Explorer

CLASSES = [getattr(explorers, name) for name in explorers.__all__]


def every_end() -> list:
    """One case for each end of each control of each explorer."""
    cases = []
    for explorer in CLASSES:
        for name, ends in explorer().controls.items():
            for end in ends:
                cases.append(pytest.param(explorer, name, end, id=f"{explorer.__name__}-{name}-{str(end)[:24]}"))
    return cases


def drawn_numbers(figure: Figure) -> np.ndarray:
    """Every coordinate of every line of a figure."""
    lines = [line.get_xydata() for axes in figure.axes for line in axes.lines]
    assert lines, "the figure holds no line"
    return np.concatenate([np.ravel(line) for line in lines]).astype(float)


@pytest.mark.parametrize("explorer, name, end", every_end())
def test_every_control_at_its_ends_draws_finite_numbers(explorer, name, end):
    built = explorer()
    setattr(built, name, end)
    assert np.isfinite(drawn_numbers(built.figure())).all()
    for key, values in built.values().items():
        assert np.isfinite(values).all(), key
    assert "nan" not in built.description() and "inf" not in built.description().split()


@pytest.mark.parametrize("explorer", CLASSES)
def test_two_explorers_share_no_setting(explorer):
    first, second = explorer(), explorer()
    for name, ends in first.controls.items():
        before = getattr(second, name)
        setattr(first, name, next(end for end in ends if end != before))
        assert getattr(second, name) == before


@pytest.mark.parametrize("explorer", CLASSES)
def test_values_outside_the_ends_are_refused(explorer):
    built = explorer()
    for name, trait in built.traits().items():
        if isinstance(trait, RangeList):
            wrong = [trait.high + 1] * trait.size
        elif isinstance(trait, Range):
            wrong = trait.high + 1
        elif isinstance(trait, Choice):
            wrong = "nothing of the kind"
        else:
            continue
        before = getattr(built, name)
        with pytest.raises(ValueError, match=f"^{name}.*must.*got"):
            setattr(built, name, wrong)
        assert getattr(built, name) == before


@pytest.mark.parametrize("explorer", CLASSES)
def test_unknown_controls_are_refused_by_name(explorer):
    with pytest.raises(TypeError, match=f"has no control colour; it has {next(iter(explorer().controls))}"):
        explorer(colour="red")


@pytest.mark.parametrize("explorer", CLASSES)
def test_settings_build_the_same_explorer_again(explorer):
    first = explorer()
    name, ends = next(iter(first.controls.items()))
    setattr(first, name, ends[-1])
    again = explorer(**first.settings())
    for key, values in first.values().items():
        np.testing.assert_array_equal(values, again.values()[key], err_msg=key)


@pytest.mark.parametrize("explorer", CLASSES)
def test_a_picture_stands_in_where_widgets_do_not_run(explorer):
    data, metadata = explorer()._repr_mimebundle_()
    again, _ = explorer()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"] == again["image/png"] and data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == again["text/plain"] == metadata["image/png"]["alt"]
    assert len(data["text/plain"].split()) > 12, "the description says too little"


@pytest.mark.parametrize("explorer", CLASSES)
def test_the_browser_gets_all_it_needs_and_fetches_nothing(explorer):
    built = explorer()
    state = json.loads(json.dumps(built.get_state()))
    assert set(state["bounds"]) == set(built.controls) <= set(state)
    assert "const plot =" in state["_esm"] and "export default { render, formulas }" in state["_esm"]
    assert "import " not in state["_esm"] and "https://" not in state["_esm"] + state["_css"]
    assert "@import" not in state["_css"] and "url(" not in state["_css"]


def test_every_script_belongs_to_an_explorer():
    scripts = {path.name for path in HERE.glob("*.js")} - {"plot.js"}
    assert scripts == {explorer.script for explorer in CLASSES}
    assert all((HERE / script).with_suffix(".py").exists() for script in scripts)


@pytest.mark.parametrize(
    "trait, wrong, message",
    [
        (Range(1, 0, 2), "1", "value must be a number between 0 and 2, got '1'"),
        (Range(1, 0, 2), True, "value must be a number"),
        (Range(1, 0, 2), float("nan"), "value must lie between 0 and 2, got nan"),
        (Range(1, 0, 2, whole=True), 1.5, "value must be a whole number, got 1.5"),
        (RangeList([1, 1], 0, 2), [1], r"value must be a list of 2 numbers, got \[1\]"),
        (RangeList([1, 1], 0, 2), [1, 5], r"value\[1\] must lie between 0 and 2, got 5"),
        (Choice(4, [2, 4]), 3, "value must be one of 2, 4, got 3"),
        (Choice("a", ["a", "b"]), "c", "value must be one of a, b, got 'c'"),
        (Switch(False), 1, "value must be True or False, got 1"),
    ],
)
def test_controls_say_what_is_wrong(trait, wrong, message):
    holder = type("Holder", (traitlets.HasTraits,), {"value": trait})()
    with pytest.raises(ValueError, match=message):
        holder.value = wrong


def test_a_half_finished_explorer_says_what_it_lacks():
    class Empty(Explorer):
        script = "ema.js"

    for method in ("values", "figure", "description"):
        with pytest.raises(NotImplementedError, match="Empty must"):
            getattr(Empty(), method)()
