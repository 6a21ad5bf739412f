"""SelecMix's pairs in a plain PyTorch loop, with a bias model of your own: here a net trained with GCE beside.

The loop, the nets and the optimizers are ordinary PyTorch; longcut finds the pairs, mixes them and gives the target.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from longcut import Dataset, load, mixing
from longcut.data import Batch
from longcut.losses import cross_entropy, gce

EPOCHS = 40


def images_of(data: Dataset) -> tuple[Tensor, Tensor]:
    return data.gather(torch.arange(len(data))), data.label


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 100), nn.ReLU(), nn.Linear(100, 10))


def trained(selective: bool, data: TensorDataset) -> nn.Module:
    torch.manual_seed(0)
    net, biased = mlp(), mlp()
    optimizer = torch.optim.Adam([*net.parameters(), *biased.parameters()], lr=2e-3)

    def alike(batch: Batch, pool: mixing.Pool) -> Tensor:
        """What the biased net gives the same answer for."""
        with torch.no_grad():
            ours, theirs = biased(batch.x), biased(pool.gather(torch.arange(len(pool))))
        return F.normalize(ours, dim=1) @ F.normalize(theirs, dim=1).T

    pair = mixing.either(mixing.contradicting(alike, "positive"), mixing.contradicting(alike, "negative"))
    mix = mixing.Mix(pair, mixing.uniform(0, 0.5), mixing.linear, mixing.of_partner)
    for _ in range(EPOCHS):
        for x, label in DataLoader(data, batch_size=200, shuffle=True):
            loss = gce(biased(x), label).mean()
            if selective:
                mixed = mix(Batch(x, label))
                loss = loss + mixing.target_loss(cross_entropy, net(mixed.x), mixed.target).mean()
            else:
                loss = loss + cross_entropy(net(x), label).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


splits = load("colored-digits:ratio=0.05")
x, label = images_of(splits.test)
conflicting = splits.test.conflicting
for name, selective in (("plain", False), ("selective mixing", True)):
    net = trained(selective, TensorDataset(*images_of(splits.train)))
    right = (net(x).argmax(1) == label).float()
    print(f"{name}: {right[~conflicting].mean():.3f} aligned, {right[conflicting].mean():.3f} conflicting")
