"""``auto``: whom it asks, how it counts, whom it takes, and that what it takes trains as if it had been named."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
import torch
from blobs import small_data  # noqa: F401
from torch import Tensor

from longcut.context import calling
from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.execute import execute
from longcut.fit import Training, fit
from longcut.loop import Loop
from longcut.methods import METHODS, Method, build
from longcut.methods.auto import Auto, Cells, by_class
from longcut.plans import plan

TRAINING = Training(epochs=20, batch=64, lr=3e-3, average=0.9, every=20)
NET = "mlp:hidden=64"


def crossed(n: int, seed: int, conflicting: float = 0.05) -> Dataset:
    """The label is whether two columns have one sign, which no line tells; a third column is the shortcut."""
    core = 2.0 * torch.randint(0, 2, (n, 2), generator=generator(seed, 1)) - 1
    label = (core.prod(1) > 0).long()
    other = torch.rand(n, generator=generator(seed, 2)) < conflicting
    attribute = torch.where(other, 1 - label, label)
    x = torch.cat([core, 2.0 * attribute[:, None] - 1], 1)
    x = x + torch.tensor([0.6, 0.6, 0.2]) * torch.randn(n, 3, generator=generator(seed, 3))
    return Dataset.of(x, label, attribute, name="crossed", aligned=(0, 1))


def straight(n: int, seed: int) -> Dataset:
    """One column tells the label, and nothing else does."""
    label = torch.arange(n) % 2
    x = torch.randn(n, 4, generator=generator(seed, 4))
    x[:, 0] = 0.3 * x[:, 0] + 4.0 * label - 2
    return Dataset.of(x, label, name="straight")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(crossed(1200, 0), None, crossed(1000, 1, 0.5))


def fitted(splits: Splits, method: str = "auto", training: Training = TRAINING, **how: Any) -> Method:
    options = how.pop("options", {})
    return fit(build(method, splits.info, net=NET, options=options), splits, training, **how).method


def conflicting(method: Method, data: Dataset) -> float:
    said = method(data.gather(data.conflicting.nonzero().flatten())).argmax(1)
    return float((said == data.label[data.conflicting]).float().mean())


def same(one: Method, other: Method) -> bool:
    pairs = zip(one.net.state_dict().items(), other.net.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


# --- who is asked, and how it is counted ------------------------------------------------------------------------------


def naive(logits: Tensor, label: Tensor, enough: int, strata: int) -> list[tuple[float, list[int], list[int]]]:
    """Weight, those that look like their label and those that do not, of each stratum, by loops over samples."""
    probability = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in logits.double().tolist()]
    looks = [row.index(max(row)) for row in probability]
    sure = [max(row) for row in probability]
    n, n_classes = len(label), logits.shape[1]
    odd = [i for i in range(n) if looks[i] != int(label[i])]
    common = [c for c in range(n_classes) if sum(looks[i] == c for i in odd) >= enough]
    groups = [(1, [c]) for c in common]
    rest = [c for c in range(n_classes) if c not in common]
    found = []
    for classes, members in [*groups, (len(rest), rest)]:
        mine = sorted(sure[i] for i in odd if looks[i] in members)
        count = min(strata, len(mine) // enough)
        edges = []
        for k in range(1, count):
            at = k / count * (len(mine) - 1)
            low = mine[math.floor(at)]
            edges.append(low + (at - math.floor(at)) * (mine[math.ceil(at)] - low))
        for k in range(count):
            inside = [i for i in range(n) if looks[i] in members and sum(sure[i] > edge for edge in edges) == k]
            agree, against = [i for i in inside if i not in odd], [i for i in inside if i in odd]
            if min(len(agree), len(against)) >= enough:
                found.append((classes / count, agree, against))
    total = sum(weight for weight, _, _ in found)
    return [(weight / total, agree, against) for weight, agree, against in found]


@pytest.mark.parametrize(("n", "classes", "enough", "strata"), [(400, 3, 5, 10), (900, 7, 9, 3), (90, 4, 5, 2)])
def test_scores_are_those_of_a_loop_over_samples(n: int, classes: int, enough: int, strata: int):
    draw = generator(n, classes)
    label = torch.randint(0, classes - 1, (n,), generator=draw)
    logits = 2 * torch.randn(n, classes, generator=draw)
    logits[torch.arange(n), label] += 1
    logits += torch.linspace(1, -2, classes)  # few look like the last ones, and nobody is of the very last
    right, base = torch.rand(2, n, generator=draw) < torch.tensor([[0.6], [0.4]])
    cells, expected = Cells.made(logits, label, enough, strata), naive(logits, label, enough, strata)
    score = difference = variance = 0.0
    for weight, *sides in expected:
        for side in sides:
            won = sum(bool(right[i]) and not bool(base[i]) for i in side)
            lost = sum(bool(base[i]) and not bool(right[i]) for i in side)
            score += weight / 2 * sum(bool(right[i]) for i in side) / len(side)
            difference += weight / 2 * (won - lost) / len(side)
            size, b, c = len(side) + 2, won + 0.5, lost + 0.5
            variance += (weight / 2) ** 2 * (b + c - (b - c) ** 2 / size) / size**2
    assert len({round(weight, 9) for weight, _, _ in expected}) > 1, "classes with other numbers of strata"
    assert cells.contradicting == sum(len(against) for _, _, against in expected)
    assert cells.score(right) == pytest.approx(score, abs=1e-12)
    assert cells.better(right, base) == pytest.approx((difference, math.sqrt(variance)), abs=1e-12)


def test_a_difference_by_hand():
    """Ten that look like their label and five that do not; one wins two of these and loses one of those."""
    logits, label = torch.tensor([[3.0, 0.0]]).repeat(15, 1), torch.tensor([0] * 10 + [1] * 5)
    cells = Cells.made(logits, label)
    base = torch.tensor([True] * 10 + [False] * 5)
    right = base.clone()
    right[[0, 10, 11]] = torch.tensor([False, True, True])
    difference, error = cells.better(right, base)
    assert difference == pytest.approx(0.5 * (2 / 5 - 1 / 10))
    agree, against = (2 - (-1) ** 2 / 12) / 12**2, (3 - 2**2 / 7) / 7**2  # of b = 0.5, c = 1.5 and b = 2.5, c = 0.5
    assert error == pytest.approx(0.5 * math.sqrt(agree + against))


def test_saying_another_class_where_the_biased_model_is_unsure_is_no_gain():
    """The label is known by one number alone, so nobody knows more than the biased model, which sees it."""
    n = 20_000
    label = torch.arange(n) % 2
    x = torch.randn(n, generator=generator(3)) + 2 * label - 1
    logits = torch.stack([-x, x], 1)  # of the true posterior
    base = (x > 0).long() == label
    right = ((x > 0) != (x.abs() < 0.5)).long() == label
    assert float(right.float().mean()) < float(base.float().mean()) - 0.05
    difference, error = Cells.made(logits, label, strata=1).better(right, base)
    assert difference > 0.15 and difference > 20 * error, "by the labels and looks alone it seems to be much better"
    matched = Cells.made(logits, label, strata=100).better(right, base)[0]
    assert abs(matched) < 0.02
    assert Cells.made(logits, label).better(right, base)[0] < difference / 3


@pytest.mark.parametrize("label", [torch.zeros(30), torch.tensor([0] * 26 + [1] * 4), torch.ones(30)])
def test_where_too_few_agree_or_contradict_nobody_is_asked(label: Tensor):
    cells = Cells.made(torch.tensor([[2.0, 0.0]]).repeat(30, 1), label.long())
    assert (cells.contradicting, len(cells.weight)) == (0, 0)
    assert (cells.of == -1).all()


def test_each_class_counts_alike():
    right = torch.tensor([True, True, True, False, True])
    assert by_class(right, torch.tensor([0, 0, 0, 0, 3])) == pytest.approx((3 / 4 + 1) / 2)


# --- whom it takes ----------------------------------------------------------------------------------------------------


def test_on_a_shortcut_it_takes_who_is_better_where_it_fails(splits: Splits):
    chosen = fitted(splits)
    assert isinstance(chosen, Auto)
    assert chosen.names[int(chosen.choice)] != "erm"
    assert chosen.net is chosen.runner.net
    assert type(chosen.runner) is METHODS[chosen.names[int(chosen.choice)]]
    assert conflicting(chosen, splits.test) > conflicting(fitted(splits, "erm"), splits.test) + 0.2
    said = chosen.remarks()[0]  # the next is the chosen one's own
    assert said.startswith(f"chose {chosen.names[int(chosen.choice)]}: accuracy on held-out samples, half by the ")
    numbers = re.search(r": erm ([\d.]+) %, selecmix ([\d.]+) % \(\+([\d.]+) ± [\d.]+\), fg-ccdb ", said)
    assert numbers is not None
    erm, selecmix, difference = map(float, numbers.groups())
    assert difference == pytest.approx(selecmix - erm, abs=0.11) and difference > 10
    assert "and 1.5 are asked for" in said and "The race took 0.97 runs of erm" in said  # 3 x 13 x 600 of 20 x 1200
    assert chosen.identification() is not None


def test_without_a_shortcut_it_is_erm_to_the_bit():
    data = Splits(straight(400, 0), None, straight(200, 1))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    chosen = fitted(data)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(chosen, fitted(data, "erm"))
    assert chosen.remarks()[0].startswith("chose erm without a race: too few of the 200 held-out samples look like")
    assert chosen.identification() is None


@pytest.mark.parametrize("name", ["mixup", "afr", "fg-ccdb"])
def test_what_it_takes_trains_as_if_it_had_been_named(name: str, splits: Splits, monkeypatch: pytest.MonkeyPatch):
    """A race that draws from both random states beforehand is not seen."""

    def choose(self: Auto, train: Dataset, fit: Any) -> int:
        torch.rand(3)
        torch.rand(5, generator=self.generator)
        return 1

    monkeypatch.setattr(Auto, "_choose", choose)
    training = Training(epochs=3, batch=64)
    assert same(fitted(splits, training=training, options={"runners": name}), fitted(splits, name, training))


def test_the_race_survives_an_interruption(splits: Splits):
    files: dict[int, bytes] = {}

    def keep(epoch: Any) -> None:
        buffer = io.BytesIO()
        torch.save(epoch.state(), buffer)
        files[epoch.epoch] = buffer.getvalue()

    whole = fitted(splits, observers=[calling(on_epoch=keep)], options={"runners": "fg-ccdb"})
    state = torch.load(io.BytesIO(files[7]), weights_only=True)
    resumed = fitted(splits, state=state, options={"runners": "fg-ccdb"})
    assert whole.remarks() == resumed.remarks() != []
    assert whole.remarks()[0].startswith("chose fg-ccdb")
    assert same(whole, resumed)
    assert torch.equal(whole.runner.weight, resumed.runner.weight)  # type: ignore[arg-type]


def test_who_cannot_learn_is_out_and_named(splits: Splits, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Method, train: Dataset, fit: Any) -> Dataset:
        raise UserError("there is nothing to mix.")

    monkeypatch.setattr(METHODS["selecmix"], "prepare", refuse)
    chosen = fitted(splits, options={"runners": "selecmix"})
    assert "chose erm: " in chosen.remarks()[0]
    assert "Out: selecmix (there is nothing to mix). " in chosen.remarks()[0]


def test_a_winner_that_cannot_learn_from_all_samples_gives_way_to_erm(splits: Splits, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Method, train: Dataset, fit: Any) -> Dataset:
        raise UserError("there is nothing to correct.")

    monkeypatch.setattr(Auto, "_choose", lambda *_: 2)
    monkeypatch.setattr(METHODS["fg-ccdb"], "prepare", refuse)
    chosen = fitted(splits, training=Training(epochs=2))
    assert chosen.remarks() == [" But on all samples it could not train (there is nothing to correct), so erm did."]
    assert same(chosen, fitted(splits, "erm", Training(epochs=2)))
    monkeypatch.setattr(Auto, "_choose", lambda *_: 0)
    monkeypatch.setattr(METHODS["erm"], "prepare", refuse)
    with pytest.raises(UserError, match=r"there is nothing to correct\."):
        fitted(splits)


def race(splits: Splits, monkeypatch: pytest.MonkeyPatch, right: Any, **options: Any) -> tuple[Auto, dict[str, int]]:
    """The choice among runners that are right on the held-out samples as ``right(name, held)`` says, and how long
    each of them ran."""
    epochs: dict[str, int] = {}

    def result(self: Auto, name: str, learned: Dataset, held: Dataset, length: int, *_: Any) -> Any:
        epochs[name] = length
        return right(name, held)

    monkeypatch.setattr(Auto, "_result", result)
    return fitted(splits, options=options), epochs  # type: ignore[return-value]


def test_what_is_won_must_outweigh_what_is_lost(splits: Splits, monkeypatch: pytest.MonkeyPatch):
    """On samples as frequent as they are, nine in ten of which look like their label."""

    def right(name: str, held: Dataset) -> Tensor:
        if name == "erm":
            return ~held.conflicting
        return (
            torch.rand(len(held), generator=generator(7)) < {"jtt": 0.55, "lff": 0.95, "mixup": 0.9}[name]
        ) | held.conflicting

    chosen, _ = race(splits, monkeypatch, right, runners="jtt", margin=3.0)
    assert "chose erm" in chosen.said and "Out: jtt (loses 3" in chosen.said
    chosen, _ = race(splits, monkeypatch, right, runners="jtt+lff", margin=3.0)
    assert "chose lff" in chosen.said
    chosen, _ = race(splits, monkeypatch, right, runners="lff+mixup", margin=3.0)
    assert "chose lff" in chosen.said and "mixup 9" in chosen.said
    chosen, _ = race(splits, monkeypatch, right, runners="lff", margin=30.0)
    assert "chose erm" in chosen.said and "Out" not in chosen.said


def test_many_runners_run_shorter(splits: Splits, monkeypatch: pytest.MonkeyPatch):
    """A share of the run's updates: of 20 epochs on half of the data, 40 are one whole run."""
    nobody = lambda name, held: torch.zeros(len(held), dtype=torch.bool)  # noqa: E731
    _, epochs = race(splits, monkeypatch, nobody, runners="jtt", share=0.25)
    assert epochs == {"erm": 10, "jtt": 10}
    _, epochs = race(splits, monkeypatch, nobody, runners="erm+jtt+lff+mixup+gerne+afr", share=1.0)
    assert epochs == dict.fromkeys(("erm", "jtt", "lff", "mixup", "gerne", "afr"), 10)  # a run and a half, by six
    chosen, _ = race(splits, monkeypatch, nobody)
    assert "chose erm" in chosen.said, "what is equal is not better"


def updates(run: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of all nets, small and large, in a run."""
    count = 0
    minibatches = Loop._minibatches

    def counted(self: Loop, train: Dataset, order: torch.Generator) -> Any:
        nonlocal count
        for batch in minibatches(self, train, order):
            count += 1
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_minibatches", counted)
        run()
    return count


def test_it_costs_no_more_than_three_runs_of_the_costliest(splits: Splits, monkeypatch: pytest.MonkeyPatch):
    alone = {name: updates(lambda name=name: fitted(splits, name), monkeypatch) for name in ("erm", "selecmix")}
    alone["fg-ccdb"] = updates(lambda: fitted(splits, "fg-ccdb"), monkeypatch)
    together = updates(lambda: fitted(splits), monkeypatch)
    assert max(alone.values()) < together <= 3 * max(alone.values())


@pytest.mark.usefixtures("small_data")
def test_a_run_says_what_was_chosen(tmp_path):
    record = execute(plan("blobs", "auto"), tmp_path / "run")
    assert len(record.remarks) == 1
    assert record.remarks[0].startswith("chose erm")
    assert record.plan.training.average == METHODS["selecmix"].training_defaults["average"]


def test_every_runner_begins_where_the_run_does(splits: Splits):
    def start(net: torch.nn.Module) -> None:
        for parameter in net.parameters():
            torch.nn.init.constant_(parameter, 0.125)

    method = build("auto", splits.info, net=NET, start=start)
    assert isinstance(method, Auto)
    for i, name in enumerate(method.names):
        method._take(i)
        assert all((parameter == 0.125).all() for parameter in method.net.parameters()), name


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runners", "message"),
    [
        ("selecmx", r"unknown method 'selecmx': did you mean 'selecmix'"),
        ("erm+lisa", r"auto cannot race lisa, which needs the attribute, and nobody is told it here; leave it out"),
        ("auto", r"auto cannot race auto, which is itself; leave it out of runners"),
        ("selecmix+", r"unknown method ''"),
        ("c-mixup", r"auto cannot race c-mixup, which learns no classes; leave it out of runners"),
        ("wcl", r"auto cannot race wcl, whose network is another one than the run's; leave it out of runners"),
        ("dfa", r"auto cannot race dfa, whose network is another one than the run's; leave it out of runners"),
    ],
)
def test_who_cannot_run_is_refused(runners: str, message: str, splits: Splits):
    with pytest.raises(UserError, match=message):
        build("auto", splits.info, net=NET, options={"runners": runners})


def test_who_watches_its_own_run_is_refused(splits: Splits, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(METHODS["mixup"], "observers", lambda self: [calling()])
    with pytest.raises(UserError, match="auto cannot race mixup, which watches its own run; leave it out of runners"):
        build("auto", splits.info, net=NET, options={"runners": "mixup"})


@pytest.mark.parametrize(("option", "value"), [("share", 0), ("share", 1.1), ("margin", -1), ("runners", "")])
def test_options_have_their_ranges(option: str, value: Any, splits: Splits):
    with pytest.raises(UserError, match=f"method 'auto': {option}={value} is not allowed; give "):
        build("auto", splits.info, net=NET, options={option: value})
