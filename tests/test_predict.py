from __future__ import annotations

import pytest
import torch
from torch import nn

from longcut.data import Dataset
from longcut.predict import predict


def dataset(label) -> Dataset:
    return Dataset.of(torch.arange(len(label), dtype=torch.float32)[:, None], label)


@pytest.mark.parametrize(("shape", "at_once"), [((8, 8), 1024), ((3, 72, 72), 33), ((3, 512, 512), 16)])
def test_the_larger_the_samples_the_fewer_at_a_time(shape, at_once):
    asked = []

    def model(x):
        asked.append(len(x))
        return x.flatten(1)[:, :1]

    data = Dataset.of(torch.zeros(2 * at_once, *shape, dtype=torch.uint8), [0, 1] * at_once)
    predict(model, data)
    assert asked == [at_once, at_once]


class Double(nn.Module):
    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        return torch.cat([x, 2 * x], 1).double()


def test_predict_keeps_the_order_of_the_data_and_the_mode_of_the_model():
    data = dataset([0, 1] * 5).take(torch.tensor([7, 7, 0, 3, 9]))
    model = Double().train()
    outputs = predict(model, data, size=2)
    assert outputs.tolist() == [[7, 14], [7, 14], [0, 0], [3, 6], [9, 18]]
    assert outputs.dtype == torch.float32
    assert model.training
    assert not predict(model.eval(), data).requires_grad
    assert not model.training
    assert torch.equal(predict(lambda x: torch.cat([x, 2 * x], 1), data), outputs), "any function will do"


def test_predict_on_nothing_and_after_a_failure():
    data = dataset([0, 1, 2])
    assert predict(Double(), data.take(torch.tensor([], dtype=torch.long))).shape == (0, 2)

    class Broken(nn.Module):
        def forward(self, x):
            raise ArithmeticError

    model = Broken().train()
    with pytest.raises(ArithmeticError):
        predict(model, data)
    assert model.training


def test_the_module_whose_method_is_asked_changes_its_mode_too():
    model = Double().train()
    data = dataset([0, 1, 0])
    assert torch.equal(predict(model.forward, data), predict(model, data)), "forward asserts that it is not training"
    assert model.training
