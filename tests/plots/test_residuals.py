import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle, FancyBboxPatch

from megalodon_edu.measure.depth_profile import VARIANTS, DepthProfile
from megalodon_edu.plots import residuals as plots


def profile(scale, depth=8):
    rising = [scale * (1 + place) for place in range(depth + 1)]
    return DepthProfile(rising, rising[::-1], [3 * value for value in rising[1:]], [0.1 * scale] * depth)


@pytest.fixture
def profiles():
    return {variant: profile(scale) for variant, scale in zip(VARIANTS, (1.0, 2.0, 4.0), strict=True)}


def data(axes):
    return [list(line.get_ydata()) for line in axes.lines]


def by_variant(axes):
    """The lines in the order of VARIANTS, told by their colours."""
    found = {line.get_color(): list(line.get_ydata()) for line in axes.lines}
    return [found[plots.VARIANT_COLORS[variant]] for variant in VARIANTS]


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_each_diagram_holds_its_boxes_sums_and_equation():
    panels = plots.three_blocks().axes
    assert [axes.get_title(loc="left") for axes in panels] == list(VARIANTS)
    for axes, variant in zip(panels, VARIANTS, strict=True):
        boxes = [text for text in words(axes) if text in ("Norm", "attention", "feed-forward")]
        assert sorted(boxes) == ["Norm", "Norm", "attention", "feed-forward"]
        assert sum(isinstance(patch, FancyBboxPatch) for patch in axes.patches) == 4
        assert plots.EQUATIONS[variant] in words(axes)


def test_only_two_hop_keeps_everything_but_one_sum_off_the_stream():
    for axes, variant in zip(plots.three_blocks().axes, VARIANTS, strict=True):
        sums = [patch.center[0] for patch in axes.patches if isinstance(patch, Circle)]
        norms = [text.get_position()[0] for text in axes.texts if text.get_text() == "Norm"]
        on_stream = {"pre-norm": (2, 0), "post-norm": (2, 2), "two-hop": (1, 0)}[variant]
        assert (sums.count(plots.STREAM), norms.count(plots.STREAM)) == on_stream
        assert len(sums) == 2


def test_nothing_of_a_diagram_is_cut_off():
    figure = plots.three_blocks()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in figure.axes:
        for text in (*axes.texts, axes._left_title):
            box = text.get_window_extent(renderer)
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text.get_text()
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text.get_text()


def test_the_tokens_are_drawn_with_what_each_variant_hands_on():
    figure = plots.six_tokens("ab", [4, 0], [6, 1], {"pre-norm": [11, 1], "two-hop": [9, 0]})
    (axes,) = figure.axes
    assert data(axes) == [[11, 1], [9, 0]]
    assert [bar.get_height() for bar in axes.patches] == [4, 0, 6, 1]
    assert {"Y, pre-norm", "Y, two-hop"} < {text.get_text() for text in axes.get_legend().get_texts()}


def test_stream_and_gradient_are_drawn_on_logarithmic_axes_and_named(profiles):
    left, right = plots.stream_and_gradient(profiles).axes
    assert by_variant(left) == [profile.stream for profile in profiles.values()]
    assert by_variant(right) == [profile.gradient for profile in profiles.values()]
    for axes in (left, right):
        assert axes.get_yscale() == "log"
        assert sorted(words(axes)) == sorted(VARIANTS)
        low, high = axes.get_ylim()
        assert low < np.min(data(axes)) and np.max(data(axes)) < high


def test_both_sublayers_are_drawn_on_one_scale(profiles):
    left, right = plots.sublayer_gradients(profiles).axes
    assert by_variant(left) == [profile.attention_gradient for profile in profiles.values()]
    assert by_variant(right) == [profile.feed_forward_gradient for profile in profiles.values()]
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] < 0.1 and left.get_ylim()[1] > 108


def test_updates_stand_beside_what_a_type_can_tell_from_nothing():
    halving = [0.1 * 0.5**layer for layer in range(6)]
    (axes,) = plots.rescaled_updates({"with": halving, "without": [0.1] * 6}, (torch.float16,)).axes
    first, second, lost = data(axes)
    assert (first, second) == (halving, [0.1] * 6)
    assert lost == [torch.finfo(torch.float16).eps / 2] * 2
    one = torch.ones((), dtype=torch.float16)
    assert one + lost[0] == one and one + 3 * lost[0] > one
    assert words(axes)[:2] == ["with", "without"] and "float16" in words(axes)[2]


def test_labels_of_lines_that_meet_at_the_end_do_not_cover_each_other(profiles):
    same = {variant: profiles["pre-norm"] for variant in VARIANTS}
    heights = sorted(text.xyann[1] for text in plots.stream_and_gradient(same).axes[0].texts)
    assert min(np.diff(heights)) >= 11
