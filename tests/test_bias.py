from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from longcut.bias import ClassifierBias, ContrastiveBias, Difficulty, least_typical, unexplained
from longcut.contrast import supervised_contrastive
from longcut.data import Batch, Dataset, Info, generator
from longcut.errors import UserError
from longcut.nets import Net


def info(n_stored: int, n_classes: int) -> Info:
    return Info("toy", (2,), n_classes, n_stored=n_stored)


# --- Difficulty -------------------------------------------------------------------------------------------------------


class Naive:
    """LfF's relative difficulty in Python's own numbers, sample by sample."""

    def __init__(self, decay: float) -> None:
        self.decay, self.biased, self.debiased, self.label = decay, {}, {}, {}

    def update(self, index: Sequence[int], label: Sequence[int], biased: Sequence[float], debiased: Sequence[float]):
        for i, y, b, d in zip(index, label, biased, debiased, strict=True):
            for memory, now in ((self.biased, b), (self.debiased, d)):
                memory[i] = self.decay * memory[i] + (1 - self.decay) * now if i in memory else now
            self.label[i] = y
        weights = []
        for i, y in zip(index, label, strict=True):
            b, d = (
                memory[i] / peak if (peak := max(memory[j] for j in memory if self.label[j] == y)) else 0.0
                for memory in (self.biased, self.debiased)
            )
            weights.append(b / (b + d + 1e-8))
        return weights


losses = st.one_of(st.just(0.0), st.floats(2**-10, 32, width=32))


@st.composite
def visits(draw):
    """Labels of all samples, and batches of distinct samples with the losses of both nets."""
    n = draw(st.integers(1, 9))
    label = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    batches = []
    for _ in range(draw(st.integers(1, 6))):
        index = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5, unique=True))
        row = st.lists(losses, min_size=len(index), max_size=len(index))
        batches.append((index, [label[i] for i in index], draw(row), draw(row)))
    return n, batches


def update(difficulty: Difficulty, index, label, biased, debiased) -> Tensor:
    return difficulty.update(torch.tensor(index), torch.tensor(label), torch.tensor(biased), torch.tensor(debiased))


@given(visits(), st.sampled_from([0.0, 0.7, 0.9]))
def test_difficulty_is_the_naive_one_visit_after_visit(case, decay):
    n, batches = case
    difficulty, naive = Difficulty(info(n, 3), decay), Naive(decay)
    for batch in batches:
        weight, expected = update(difficulty, *batch), torch.tensor(naive.update(*batch), dtype=torch.float64)
        torch.testing.assert_close(weight.double(), expected, atol=1e-6, rtol=1e-5)
        assert weight.min() >= 0 and weight.max() <= 1


def test_difficulty_by_hand():
    """Two samples of class 0 and one of class 1; sample 3 is never visited."""
    difficulty = Difficulty(info(4, 2))
    # class 0: biased 4 and 1 of at most 4, debiased 1 and 2 of at most 2; class 1 is alone, so both its losses are 1
    weight = update(difficulty, [0, 1, 2], [0, 0, 1], [4.0, 1.0, 9.0], [1.0, 2.0, 0.1])
    torch.testing.assert_close(weight, torch.tensor([1 / 1.5, 0.25 / 1.25, 0.5]))
    # biased 0.7·4 + 0.3·2 = 3.4, itself the largest of its class; debiased 0.7·1 + 0.3·11 = 4, now larger than 2
    weight = update(difficulty, [0], [0], [2.0], [11.0])
    torch.testing.assert_close(weight, torch.tensor([0.5]))
    # biased 0.7·1 + 0.3·1 = 1 of at most 3.4; debiased 0.7·2 + 0.3·2 = 2 of at most 4
    weight = update(difficulty, [1], [0], [1.0], [2.0])
    torch.testing.assert_close(weight, torch.tensor([(1 / 3.4) / (1 / 3.4 + 0.5)]))


def test_difficulty_of_no_loss_is_zero():
    assert update(Difficulty(info(3, 2)), [0, 2], [0, 1], [0.0, 0.0], [0.0, 0.0]).tolist() == [0, 0]


def test_difficulty_survives_a_sample_twice_in_a_batch():
    """An oversampled sample: one of its losses is remembered, and its weights are weights."""
    difficulty = Difficulty(info(3, 2))
    update(difficulty, [1, 0], [0, 0], [5.0, 5.0], [5.0, 5.0])
    weight = update(difficulty, [1, 1, 0], [0, 0, 0], [1.0, 3.0, 2.0], [2.0, 4.0, 2.0])
    assert torch.isfinite(weight).all() and weight.min() >= 0 and weight.max() <= 1
    assert weight[0] == weight[1]
    assert difficulty.loss[0, 1].item() in [pytest.approx(0.7 * 5 + 0.3 * now) for now in (1, 3)]


def test_difficulty_passes_no_gradient():
    difficulty, loss = Difficulty(info(2, 1)), torch.ones(2, requires_grad=True)
    weight = difficulty.update(torch.arange(2), torch.zeros(2).long(), loss, 2 * loss)
    assert not weight.requires_grad and not difficulty.loss.requires_grad


def test_difficulty_follows_its_largest_averages_without_a_look_at_all(monkeypatch):
    """To the bit what the whole memory says, over epochs in which losses fall, rise, and a label is changed."""
    n, draw, looks = 200, generator(4), []
    difficulty, label = Difficulty(info(n, 3)), torch.randint(3, (n,), generator=draw)
    look = Difficulty._look
    monkeypatch.setattr(Difficulty, "_look", lambda self: (looks.append(1), look(self))[0])
    for epoch in range(4):
        for rows in torch.randperm(n, generator=draw).split(16):
            difficulty.update(rows, label[rows], *(torch.rand(2, len(rows), generator=draw) / (epoch + 1)))
            whole = torch.zeros(2, 3).scatter_reduce_(1, difficulty.label.expand(2, -1), difficulty.loss, "amax")
            assert torch.equal(difficulty.peak, whole)
    assert not looks, "a step costs what its batch does, however many samples there are"
    label[:20] = (label[:20] + 1) % 3
    difficulty.update(torch.arange(20), label[:20], *torch.rand(2, 20, generator=draw))
    assert len(looks) == 1, "who left a class may have been its largest"
    difficulty.load_state_dict({name: value.clone() for name, value in difficulty.state_dict().items()})
    difficulty.update(torch.arange(9), label[:9], *torch.zeros(2, 9))
    assert len(looks) == 2, "another memory"
    whole = torch.zeros(2, 3).scatter_reduce_(1, difficulty.label.expand(2, -1), difficulty.loss, "amax")
    assert torch.equal(difficulty.peak, whole)
    assert "peak" not in difficulty.state_dict(), "it follows from the rest"


def test_difficulty_goes_on_from_its_state():
    """What a resumed run needs is in the state."""
    first, resumed = Difficulty(info(4, 2)), Difficulty(info(4, 2))
    update(first, [0, 1, 3], [0, 0, 1], [1.0, 2.0, 3.0], [2.0, 2.0, 1.0])
    resumed.load_state_dict(first.state_dict())
    batch = ([0, 2], [0, 1], [4.0, 1.0], [1.0, 1.0])
    assert torch.equal(update(first, *batch), update(resumed, *batch))


# --- ContrastiveBias --------------------------------------------------------------------------------------------------


def model(n_stored: int = 6, **options) -> ContrastiveBias:
    net = nn.Linear(2, 3)
    nn.init.normal_(net.weight, generator=generator(0))
    return ContrastiveBias(net, info(n_stored, 2), 3, **options)


def test_embeddings_are_unit_vectors_of_what_the_net_says():
    bias, x = model(), torch.randn(5, 2, generator=generator(1))
    z = bias.embed(x)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(z * bias.net(x).norm(dim=1, keepdim=True), bias.net(x))


def test_remembers_the_samples_that_passed():
    bias, z = model(), torch.eye(3, requires_grad=True)
    bias.remember(torch.tensor([4, 0]), z[:2])
    bias.remember(torch.tensor([0, 1]), z[1:])
    expected = torch.zeros(6, 3)
    expected[[4, 0, 1], [0, 1, 2]] = 1
    assert torch.equal(bias.bank, expected)
    assert not bias.bank.requires_grad
    assert "bank" not in bias.state_dict(), "it can be asked again"


def test_similarity_is_of_what_was_remembered():
    """By identity: the pool is a data set in another order, with a sample twice."""
    bias, angle = model(), torch.arange(6) * math.pi / 6
    bias.remember(torch.arange(6), torch.stack([angle.cos(), angle.sin(), torch.zeros(6)], 1))
    data = Dataset.of(torch.zeros(6, 2), [0, 1] * 3)
    batch, pool = data.batch(torch.tensor([5, 2])), data.take(torch.tensor([0, 4, 4, 2]))
    expected = [[math.cos((i - j) * math.pi / 6) for j in (0, 4, 4, 2)] for i in (5, 2)]
    torch.testing.assert_close(bias.similarity(batch, pool), torch.tensor(expected))


# --- ClassifierBias: two samples, two features, two classes, by hand ------------------------------------------------


def classifier(kind, **options) -> ClassifierBias:
    """Features are the inputs; logits are ``(x0, 0)``, so p of class 0 is the logistic function of x0."""
    net = Net([nn.Flatten()], nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net.head.load_state_dict({"weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]])})
    return ClassifierBias(net, info(3, 2), kind, **options)


POINTS = torch.tensor([[math.log(3), 4.0], [0.0, 4.0], [-3 * math.log(3), 0.0]])  # p of class 0: 3/4, 1/2, 1/28


def divergence(p: float, r: float) -> float:
    return p * math.log(p / r) + (1 - p) * math.log((1 - p) / (1 - r))


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("cosine", lambda a, b: float(a @ b / a.norm() / b.norm())),
        ("l2", lambda a, b: -math.dist(a.tolist(), b.tolist())),
        ("kl", lambda a, b: -divergence(float(a[0].sigmoid()), float(b[0].sigmoid()))),
    ],
)
def test_how_alike_two_samples_are_to_a_classifier(kind, of):
    bias, data = classifier(kind), Dataset.of(POINTS, [0, 1, 1])
    bias.remember_all(data)
    found = bias.similarity(data.batch(torch.tensor([2, 0])), data)
    expected = [[of(POINTS[i], POINTS[j]) for j in range(3)] for i in (2, 0)]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bias.direction(bias.bank).norm(dim=1), torch.ones(3))


def test_the_divergence_is_of_the_partner_from_the_anchor():
    assert divergence(3 / 4, 1 / 28) == pytest.approx(0.75 * math.log(21) + 0.25 * math.log(7 / 27))
    bias, data = classifier("kl"), Dataset.of(POINTS, [0, 1, 1])
    bias.remember_all(data)
    batch, pool = data.batch(torch.tensor([0])), data.batch(torch.tensor([2]))
    assert bias.similarity(batch, pool).item() == pytest.approx(-divergence(3 / 4, 1 / 28), rel=1e-5)
    assert bias.similarity(pool, batch).item() == pytest.approx(-divergence(1 / 28, 3 / 4), rel=1e-5)


@pytest.mark.parametrize(
    ("scale", "loss"), [("paper", 2 * (1 - 0.75**0.5)), ("code", 0.5 * 0.75**0.5 * math.log(4 / 3))]
)
def test_a_classifier_learns_by_the_generalized_cross_entropy(scale, loss):
    bias = classifier("l2", q=0.5, scale=scale)
    assert bias.learning_loss(POINTS[:1], torch.tensor([0])).item() == pytest.approx(loss, rel=1e-5)


def test_a_contrastive_model_learns_from_its_loss():
    bias, x, label = model(), torch.randn(6, 2, generator=generator(1)), torch.tensor([0, 0, 1, 1, 1, 0])
    assert torch.equal(bias.learning_loss(x, label), bias.loss(bias.embed(x), label))


def test_similarity_needs_to_know_who_is_who():
    nameless = Batch(torch.zeros(2, 2), torch.zeros(2).long())
    known = Batch(nameless.x, nameless.label, index=torch.arange(2))
    for batch, pool in [(nameless, known), (known, nameless)]:
        with pytest.raises(UserError, match=r"know who is who; pass Batch\(x, label, index="):
            model().similarity(batch, pool)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_least_typical_is_the_naive_one(share):
    """Class 3 has one sample, class 4 none."""
    label = [0, 1, 2, 1, 0, 1, 3, 2, 1, 1, 2, 0, 1, 1, 1, 2, 1]
    z = nn.functional.normalize(torch.randn(len(label), 3, generator=generator(0), dtype=torch.float64), dim=1)
    expected = []
    for y in range(5):
        rows = [i for i in range(len(label)) if label[i] == y]
        centre = [sum(z[i, k].item() for i in rows) for k in range(3)]
        rows.sort(key=lambda i: sum(z[i, k].item() * centre[k] for k in range(3)))
        expected += rows[: max(2, math.ceil(share * len(rows)))]
    assert least_typical(z, torch.tensor(label), 5, share).tolist() == expected


OPPOSITE = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0]])


@pytest.mark.parametrize("temperature", [0.2, 0.5])
@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({"loss": "sc"}, lambda p: 1),
        ({"loss": "sc", "scale": "code"}, lambda p: 1),
        ({"loss": "gsc"}, lambda p: p**0.7),
        ({"q": 0.3}, lambda p: p**0.3),
        ({"scale": "code"}, lambda p: 0.7 * p**0.7),
    ],
)
def test_loss_of_two_opposite_pairs(options, factor, temperature):
    """One partner at cosine 1, two others at -1, so p = 1 / (1 + 2 exp(-2 / temperature)) and each anchor's loss is
    that times -log p.
    """
    p = 1 / (1 + 2 * math.exp(-2 / temperature))
    loss = model(temperature=temperature, **options).loss(OPPOSITE, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(factor(p) * -math.log(p), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize(("kind", "expected"), [("sc", math.log(2)), ("gsc", 2**-0.7 * math.log(2))])
def test_loss_is_the_mean_over_all_anchors(kind, expected):
    """Three alike, so p = 1/2; the third has no positives and counts 0, in the mean too."""
    loss = model(loss=kind).loss(OPPOSITE[[0, 0, 0]], torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(2 / 3 * expected)


@pytest.mark.parametrize("kind", ["gsc", "sc"])
def test_loss_trains_the_net(kind):
    """Steps along the gradient bring the samples of a label together (the weights, which pass none, may well grow)."""
    bias, label = model(loss=kind), torch.arange(40) % 2
    x = torch.randn(40, 2, generator=generator(1)) + 2 * label[:, None]
    optimizer = torch.optim.SGD(bias.parameters(), 0.1)
    start = supervised_contrastive(bias.embed(x), label)
    for _ in range(20):
        optimizer.zero_grad()
        bias.loss(bias.embed(x), label).backward()
        optimizer.step()
    assert supervised_contrastive(bias.embed(x), label) < start


def test_remembers_a_whole_data_set_in_evaluation_mode():
    data = Dataset.of(torch.rand(2100, 3, generator=generator(0)), torch.arange(2100) % 2)
    few = data.take(torch.arange(2100)[torch.arange(2100) != 7])
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    bias = ContrastiveBias(net, data.info, 4)
    bias.train().remember_all(few)
    expected = nn.functional.normalize(net.eval()(data.x), dim=1)
    torch.testing.assert_close(bias.bank[few.index], expected[few.index])
    assert bias.training
    assert not bias.bank[7].any()


def test_unexplained_counts_samples_nearer_to_another_class():
    draw = generator(3)
    z = nn.functional.normalize(torch.randn(90, 5, generator=draw), dim=1)
    label = torch.randint(3, (90,), generator=draw)
    wrong = 0
    for i in range(90):
        nearness = []
        for c in range(3):
            mean = torch.stack([z[j].double() for j in range(90) if label[j] == c]).sum(0)
            nearness.append(float(z[i].double() @ mean / mean.norm()))
        wrong += nearness.index(max(nearness)) != label[i]
    assert unexplained(z, label, 3) == pytest.approx(wrong / 90)
    assert 0 < wrong < 90


def test_unexplained_finds_the_conflicting_share_of_a_perfect_bias():
    label = torch.arange(200) % 2
    attribute = torch.where(torch.arange(200) < 20, 1 - label, label)
    assert unexplained(torch.eye(2)[attribute], label, 2) == pytest.approx(0.1)
    assert unexplained(torch.eye(2)[label], label, 2) == 0
