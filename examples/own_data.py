"""Your own table, and a column you suspect: does the net follow it, and does SelecMix do better without being told?

Ten measurements of patients of two hospitals. The hospital's scanner shifts one measurement, and most sick patients
were seen in one hospital, so the scanner gives the label away, except in one patient of twenty.
"""

from __future__ import annotations

import torch

from longcut import Dataset, Splits, Training, fit
from longcut.data import generator, split
from longcut.evaluate import sample_values, scores
from longcut.methods import build
from longcut.predict import predict


def patients(n: int, agreeing: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Measurements ``(n, 10)``, who is sick, and which hospital; they agree with this probability."""
    g = generator(seed)
    sick = torch.randint(2, (n,), generator=g)
    hospital = torch.where(torch.rand(n, generator=g) < agreeing, sick, 1 - sick)
    x = torch.randn(n, 10, generator=g)
    x[:, 0] += 8.0 * hospital  # loud, and true of this data set only
    x[:, 1:4] += 1.2 * sick[:, None]  # quiet, and true everywhere
    return x, sick, hospital


x, sick, _ = patients(2000, 0.95, seed=0)
train, valid = split(Dataset.of(x, sick, name="patients"), 0.1, generator(1))  # nobody wrote down the hospital

x, sick, hospital = patients(4000, 0.5, seed=2)  # a few were checked by hand, to judge
test = Dataset.of(x, sick, hospital, name="checked", aligned=(0, 1), attribute_names=("A", "B"))

for name in ("erm", "selecmix"):
    method = build(name, train.info, net="mlp:hidden=32-16")
    fitted = fit(method, Splits(train, valid, test), Training(epochs=20, batch=64, every=20))
    judged = scores(sample_values(predict(fitted.method, test), test), test)
    print(f"{name}: {judged.values['average']:.3f} of all patients right")
    for group in judged.groups:
        who = f"{'sick' if group.label else 'well'}, hospital {test.info.attribute_names[group.attribute or 0]}"
        print(f"  {who}: {group.value:.3f} ({group.low:.3f} to {group.high:.3f}, {group.n} patients)")
