"""The table of errors: every kernel is within its limit, and one that is wrong is not."""

import pytest
import torch

from megalodon_edu import kernels
from megalodon_edu.measure.error_cases import Plan
from megalodon_edu.measure.kernel_errors import kernel_errors

TINY = Plan(((2, 1, 8), (1, 20, 6)), (1, 70, 2), modes=2, chunk=16, held=3, vocabulary=40)


def test_all_kernels_are_within_their_limits_and_a_wrong_one_is_not(device, monkeypatch):
    right = kernels.rms_norm_triton
    monkeypatch.setattr(kernels, "rms_norm_triton", lambda *given: 1.001 * right(*given))
    rows = list(kernel_errors(TINY, device, [torch.float32]))
    wrong = [row for row in rows if row["work"] == "RMSNorm"]
    assert len({row["work"] for row in rows}) == 10 and len(wrong) == 2
    assert [row for row in rows if not row["within"]] == wrong
    for row in wrong:
        assert row["same_bits"] and row["errors"]["y"] == pytest.approx(1e-3, rel=1e-2)
