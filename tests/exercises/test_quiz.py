"""The quiz: every number is computed here again with the package, and the texts have the form that the page needs."""

import html
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from megalodon_edu import models, nn
from megalodon_edu.exercises import quiz
from megalodon_edu.exercises.questions import chapters, page_html, questions
from megalodon_edu.exercises.solutions.chapter08 import surprise
from megalodon_edu.measure import cost_model
from megalodon_edu.measure.receptive_field import receptive_field
from megalodon_edu.ops.attention import chunked_attention
from megalodon_edu.ops.complex_ema import complex_ema_kernel
from megalodon_edu.ops.damped_ema import damped_ema_kernel
from megalodon_edu.ops.ema import ema_kernel, half_life
from megalodon_edu.ops.timestep_norm import TimestepNormState, merge
from megalodon_edu.studies.statistics import mean_interval

ROOT = Path(__file__).resolve().parents[2]
ALL = questions()
NUMERIC = [question for question in ALL if question.numeric]
CHOICES = [question for question in ALL if not question.numeric]


def each(some):
    return pytest.mark.parametrize("question", some, ids=lambda question: question.id)


def column(*values):
    return torch.tensor([values], dtype=torch.float64)


def cache_bytes():
    config = models.TransformerConfig(32, 4096, 11_008, num_heads=32, kv_heads=32, vocab_size=32_000)
    return models.transformer_state_bytes(config, 1, activation_bytes=2)


def sum_of_weights():
    kernel = damped_ema_kernel(column(0.5), column(0.2), column(1.0), column(1.0), 2000)
    return kernel.sum().item()


def best_period():
    decay, eta = column(0.99), torch.ones(1, 1, dtype=torch.complex128)
    kernel = complex_ema_kernel(1 - decay, torch.ones_like(decay), torch.deg2rad(column(350.0)), eta, 1440)
    return 1440 / (torch.fft.rfft(kernel[0]).abs()[1:].argmax().item() + 1)


def variance_of_both():
    spans = [(3, 4 / 3, 32 / 9), (3, 2 / 3, 8 / 9)]
    first, second = (TimestepNormState(torch.tensor([n]), column(mean), column(var)) for n, mean, var in spans)
    return merge(first, second).var.item()


def spread_by_the_variance_of_means():
    x = torch.randn(1, 4000, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means, n = x.mean(2), torch.arange(1, 4001)
    mean = means.cumsum(1) / n
    wrong = (x - mean[..., None]) / (means.square().cumsum(1) / n - mean.square())[..., None].sqrt()
    right, _ = nn.TimestepNorm(16, 1).double()(x)
    assert right[:, 500:].std().item() == pytest.approx(1, abs=0.05)
    return wrong[:, 500:].std().item()


def tokens_seen():
    x = torch.randn(24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    field = receptive_field(lambda x: chunked_attention(*[x[:, :, None]] * 3, 8)[0].squeeze(2), x)
    return (field[16] > 0).sum().item()


def logit_with_itself():
    z = torch.randn(8, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.rms_norm(z, (64,), eps=1e-5).square().sum(-1).mean().item()


def end_of_the_stream():
    class Update(torch.nn.Module):
        def __init__(self, size, stateful):
            super().__init__()
            self.size, self.stateful = size, stateful

        def forward(self, x, *state):
            update = self.size * torch.randn_like(x)
            return (update, None) if self.stateful else update

    torch.manual_seed(0)
    stream = torch.randn(1, 8, 4096)
    block = nn.TwoHopBlock(Update(0.6, True), Update(0.2, False))
    for _ in range(64):
        stream, _ = block(stream)
    return stream.square().mean().sqrt().item()


def keys_held():
    sizes = {"model_dim": 4, "z_dim": 2, "value_dim": 4, "cema_ndim": 1, "norm_num_groups": 1, "ffn_hidden_dim": 4}
    config = models.MegalodonConfig(num_layers=1, num_heads=1, chunk_size=512, **sizes)
    with torch.no_grad():
        _, state = models.Megalodon(config)(torch.ones(1, 1537, dtype=torch.long))
    return state.layers[0].cache.keys.shape[1]


KERNELS = """
import torch, triton, triton.language as tl
from megalodon_edu.kernels.first_kernels import _softmax_kernel
from megalodon_edu.kernels.tracing import trace


@triton.jit
def copy_kernel(x_ptr, out_ptr, stride, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    tl.store(out_ptr + lane, tl.load(x_ptr + lane * stride))


x = torch.randn(5, 70)
rows = trace(_softmax_kernel, (5,), x, torch.empty_like(x), 70, 70, 70, BLOCK=128)
column = trace(copy_kernel, (1,), torch.randn(8, 32), torch.empty(8), 32, BLOCK=8)
print(rows.bytes, sum(32 * read.sectors for read in column.of("read")))
"""


@cache
def traced():
    """In a process of its own: Triton's interpreter must be chosen before Triton is imported."""
    if find_spec("triton") is None:
        pytest.skip("Triton has packages for Linux only")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "kernels.py"  # Triton reads a kernel's source from its file
        program.write_text(KERNELS, encoding="utf-8")
        environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.split()]


def bits_per_byte():
    logits = torch.log(torch.tensor([[math.exp(-1.2), 1 - math.exp(-1.2)]] * 3, dtype=torch.float64))
    return surprise(logits, torch.zeros(3, dtype=torch.long)).mean().item()


def half_width():
    interval = mean_interval([-6, -10, -14])
    assert interval.mean == -10 and interval.high < 0, "the explanation says that it excludes 0"
    assert mean_interval([-6.535898, -6.535898, -13.464102, -13.464102]).high == pytest.approx(-10 + 6.4, abs=0.05)
    return (interval.high - interval.low) / 2


COMPUTED = {
    "cache-bytes": cache_bytes,
    "half-life": lambda: half_life(1 - 0.1).item(),
    "sum-of-weights": sum_of_weights,
    "nearly-a-full-turn": best_period,
    "chan": variance_of_both,
    "variance-of-means": spread_by_the_variance_of_means,
    "first-of-its-chunk": tokens_seen,
    "missing-scale": logit_with_itself,
    "growth-of-the-stream": end_of_the_stream,
    "keys-held": keys_held,
    "looks-in-chunks": lambda: cost_model.attended_pairs(10, 4),
    "bytes-of-softmax": lambda: traced()[0],
    "bytes-of-a-column": lambda: traced()[1],
    "nats-and-bits": bits_per_byte,
    "interval": half_width,
}


def test_every_numeric_question_is_computed():
    assert sorted(COMPUTED) == sorted(question.id for question in NUMERIC)


@each(NUMERIC)
def test_the_number_is_what_the_package_computes(question):
    assert COMPUTED[question.id]() == pytest.approx(question.answer, abs=question.tolerance)


def test_numbers_of_the_choices():
    kernels = [ema_kernel(column(alpha)[0], 101)[0] for alpha in (0.1, 0.01)]
    ahead = (kernels[1] > kernels[0]).nonzero()[0].item()
    assert ahead == 25 and kernels[1][100] > 1000 * kernels[0][100]
    assert pytest.approx(3e-5, rel=0.15) == 0.9**100
    assert half_life(0.99).item() == pytest.approx(69, abs=0.1) and 0.99**100 > 1 / 3  # two-spikes
    longest = max(
        half_life(1 - alpha * delta).max().item()
        for layer in models.pretrained("bookworm").layers
        for alpha, delta, *_ in [layer.attention.cema.coefficients()]
    )
    assert longest == pytest.approx(12, abs=0.5)
    lost = torch.tensor(-4.0, dtype=torch.float64).sigmoid() ** 2
    assert half_life(1 - lost) > 2000
    assert 100 * math.e / (math.e + 2047 / math.e) == pytest.approx(0.36, abs=0.005)  # norm-last
    big = models.MegalodonConfig.preset("7.3B")
    rival = models.match_transformer(big, num_heads=32)
    operations = [cost_model.forward_flops(config, 1000).total for config in (big, rival)]
    kept = [cost_model.most_state_bytes(config, 1000, activation_bytes=2) for config in (big, rival)]
    assert operations[0] == pytest.approx(operations[1], rel=0.02) and kept[0] > kept[1]  # short-chats
    saved = [cost_model.training_bytes(models.MegalodonConfig.preset("tiny"), context) for context in (1024, 2048)]
    assert 1.6 < saved[1] / saved[0] < 2  # training-memory


def test_forty_questions_over_all_chapters():
    assert len(ALL) == 40
    assert chapters() == [f"{chapter:02}" for chapter in range(14)]
    assert min(Counter(question.chapter for question in ALL).values()) >= 2
    assert len({question.id for question in ALL}) == 40
    assert [question.chapter for question in ALL] == sorted(question.chapter for question in ALL)
    assert len(NUMERIC) >= 10


@each(CHOICES)
def test_one_choice_is_right_and_every_choice_has_its_own_reason(question):
    assert 3 <= len(question.choices) <= 4
    assert [choice.right for choice in question.choices].count(True) == 1
    assert len({choice.text for choice in question.choices}) == len({choice.why for choice in question.choices})
    assert all(choice.text and choice.why[-1] in ".)" for choice in question.choices)


@each(NUMERIC)
def test_slips_are_told_apart_from_the_answer_and_from_each_other(question):
    assert question.slips and question.explanation
    values = [slip.value for slip in question.slips]
    for index, value in enumerate(values):
        reach = max(question.tolerance, 0.01 * abs(value))
        assert abs(value - question.answer) > question.tolerance + reach
        assert all(abs(value - other) > 2 * reach for other in values[index + 1 :])


def test_the_right_choice_does_not_always_stand_at_the_same_place():
    places = Counter(next(n for n, choice in enumerate(question.shown) if choice.right) for question in CHOICES)
    assert max(places.values()) <= len(CHOICES) / 2
    assert len(places) == 4


def test_a_quiz_holds_its_chapters_and_says_which_there_are():
    assert [question.chapter for question in quiz("03").questions] == ["03"] * 3
    assert len(quiz().questions) == 40
    assert {question.chapter for question in quiz("02", "05").questions} == {"02", "05"}
    with pytest.raises(ValueError, match=r"chapter must be one of '?00.*got '3'"):
        quiz("3")


def test_what_a_notebook_gets_needs_no_network_and_no_kernel():
    bundle = quiz("03")._repr_mimebundle_()
    assert "Answer" not in bundle["text/plain"] and bundle["text/plain"].count("\n\n") == 3
    shown = bundle["text/html"]
    assert "http" not in shown.replace("http://www.w3.org", "")
    assert shown.count("<details>") == 3, "where no script runs, the answers are folded away"
    data = json.loads(html.unescape(shown.partition('data-questions="')[2].partition('"')[0]))
    assert [entry["id"] for entry in data] == [question.id for question in quiz("03").questions]
    assert shown == quiz("03")._repr_mimebundle_()["text/html"], "the same HTML at every run"


def test_a_static_page_carries_style_and_script_once():
    page = page_html(["00", "01"])
    assert page.count("<h2 ") == 2, "headings follow that of the page"
    assert page.count("<section") == 2 and page.count("<script>") == 1 and page.count("<style>") == 1
    assert page_html().count("<section") == 14
