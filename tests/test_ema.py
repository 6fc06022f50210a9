import torch

from megalodon_edu.ops.ema import ema_reference


def test_a_constant_is_approached_geometrically():
    y, state = ema_reference(torch.ones(1, 6, 1).double(), torch.tensor([0.5]).double())
    expected = 1 - 0.5 ** torch.arange(1, 7).double()
    torch.testing.assert_close(y[0, :, 0], expected)
    torch.testing.assert_close(state, y[:, -1])


def test_streaming_in_pieces_equals_one_call():
    x, alpha = torch.randn(2, 9, 3).double(), torch.rand(3).double()
    whole, last = ema_reference(x, alpha)
    first, state = ema_reference(x[:, :4], alpha)
    second, state = ema_reference(x[:, 4:], alpha, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(state, last)
