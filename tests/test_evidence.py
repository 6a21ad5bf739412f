"""Is it a minority? Choices whose answer is known, held against chance, wrong labels and hard samples."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import shortcut

from longcut import Splits, Training, fit, runs
from longcut.bias import Difficulty
from longcut.context import calling
from longcut.data import Dataset, Info, generator, label_noise
from longcut.errors import UserError
from longcut.execute import execute
from longcut.methods import build
from longcut.methods.identified import evidence
from longcut.methods.identified.evidence import Verdict, above_chance, examine, judge_minority, learnable
from longcut.plans import plan

KINDS = ("minority", "chance", "noise", "too many", "nobody", "unclear")


def told(looks: Tensor, classes: int, size: Tensor | float = 1.0) -> Tensor:
    """Logits that say ``looks``, so much surer than all else."""
    return torch.as_tensor(size).expand(len(looks))[:, None] * torch.eye(classes)[looks]


def conflicting(n: int = 400, classes: int = 4, share: float = 0.05) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, looks, and who looks like another class: the same share of each class."""
    label = torch.arange(n) % classes
    odd = torch.arange(n) < share * n
    return label, torch.where(odd, (label + 1 + torch.arange(n) // classes % (classes - 1)) % classes, label), odd


def erring(truth: Tensor, rate: float, classes: int, seed: int) -> Tensor:
    """The truth, replaced by another class in so many cases."""
    wrong = torch.rand(len(truth), generator=generator(seed, 1)) < rate
    step = torch.randint(1, classes, (len(truth),), generator=generator(seed, 2))
    return torch.where(wrong, (truth + step) % classes, truth)


# --- chance -----------------------------------------------------------------------------------------------------------


def test_chance_counts_all_choices_of_the_same_class_sizes():
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
    odd = torch.tensor([1, 1, 0, 0, 0, 1, 0, 0, 1]).bool()
    chosen = torch.tensor([1, 1, 0, 0, 0, 0, 0, 1, 1]).bool()
    hits = [
        sum(bool(odd[i]) for i in (*zeros, *ones))
        for zeros in itertools.combinations(range(5), 2)
        for ones in itertools.combinations(range(5, 9), 2)
    ]
    expected, p = above_chance(label, chosen, odd)
    assert expected == pytest.approx(np.mean(hits))
    assert p == pytest.approx(np.mean([hit >= 3 for hit in hits]))


def test_chance_is_exact_in_the_tail_of_large_classes():
    from scipy.stats import hypergeom

    label, odd = torch.zeros(50_000).long(), torch.arange(50_000) % 20 == 0
    for more in (0, 200, 700):
        chosen = odd & (torch.arange(50_000) < more) | (torch.arange(50_000) >= 42_800)
        expected, p = above_chance(label, chosen, odd)
        hit = int((chosen & odd).sum())
        assert expected == pytest.approx(int(chosen.sum()) / 20)
        assert p == pytest.approx(hypergeom.sf(hit - 1, 50_000, 2_500, int(chosen.sum())), abs=1e-9)


def test_all_that_is_chosen_of_a_class_says_nothing():
    label, _, odd = conflicting(8, 2, 0.5)
    assert above_chance(label, torch.ones(8).bool(), odd) == (4.0, pytest.approx(1.0))
    assert above_chance(label, odd, torch.zeros(8).bool()) == (0.0, pytest.approx(1.0))


def test_a_random_choice_is_taken_for_a_minority_never_and_for_more_than_chance_in_one_of_a_hundred_cases():
    label, looks, _ = conflicting(share=0.2)
    kinds = []
    for seed in range(300):
        # a whole class more often than the others, which is what the classes are there for
        chance = torch.tensor([0.05, 0.05, 0.1, 0.4])[label]
        chosen = torch.rand(400, generator=generator(seed)) < chance
        said = erring(label, 0.1, 4, seed)
        kinds.append(judge_minority(chosen, label, told(looks, 4), True, said).kind)
    assert kinds.count("chance") >= 292, "300 · 1 % and two deviations"
    chosen = torch.rand(400, generator=generator(0)) < 0.1
    assert judge_minority(chosen, label, told(label, 4), False).kind == "chance", "nobody looks like another class"


# --- wrong labels -----------------------------------------------------------------------------------------------------


def test_what_is_learnable_is_fishers_test_of_labels_given_against_errors_elsewhere():
    from scipy.stats import binomtest, fisher_exact

    label, looks, odd = conflicting(200, 4, 0.1)
    said = label.clone()
    said[:8] = looks[:8]  # of 20 odd ones
    said[8:11] = (label[8:11] + 2) % 4
    said[100:130] = (label[100:130] + 1) % 4  # 30 errors among 180
    found = learnable(odd, label, told(looks, 4), said)
    own, other = int((said == label)[odd].sum()), int((said == looks)[odd].sum())
    assert (found["asked"], found["label"], found["looks"], found["by_error"]) == (20, own, other, 20 * 30 / 180)
    table = [[own, 20 - own], [30, 150]]
    assert found["p_label"] == pytest.approx(fisher_exact(table, alternative="greater")[1])
    assert found["p_looks"] == pytest.approx(binomtest(other, own + other, 0.5, alternative="greater").pvalue)


def test_only_the_surest_mistakes_are_asked_about():
    label = torch.zeros(20).long()
    looks = (torch.arange(20) < 8).long()
    size = torch.cat([torch.tensor([0.1, 0.6, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]), torch.arange(12) / 4 + 0.25])
    found = learnable(looks > 0, label, told(looks, 2, size), label)
    assert found["asked"] == 6, "all that is told more surely than the least sure quarter of what is right"
    assert learnable(looks > 0, label, told(looks, 2), label)["asked"] == 8, "nobody is less sure"
    every = learnable(torch.ones(20).bool(), label, told(1 - label, 2), label)
    assert every["asked"] == 20
    assert every["p_label"] == 1


@pytest.mark.parametrize("classes", [2, 4, 10])
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_wrong_labels_are_no_minority_whatever_replaces_what(classes: int, kind: Literal["symmetric", "asymmetric"]):
    kinds = []
    for seed in range(100):
        truth = torch.arange(1000) % classes
        data = label_noise(Dataset.of(torch.zeros(1000, 1), truth), 0.1, generator(seed), kind)
        said = erring(truth, 0.15, classes, seed)  # which knows nothing of the labels of these samples
        wrong = data.label != truth
        kinds.append(judge_minority(wrong, data.label, told(truth, classes), True, said).kind)
    assert kinds.count("noise") >= 97
    assert "minority" not in kinds


def test_a_net_that_knows_nothing_makes_no_verdict():
    label, looks, odd = conflicting(share=0.1)
    for seed in range(20):
        said = torch.randint(4, (400,), generator=generator(seed))
        assert judge_minority(odd, label, told(looks, 4), True, said).kind in ("unclear", "noise")


# --- every verdict ----------------------------------------------------------------------------------------------------


def test_samples_that_contradict_a_shortcut_are_a_minority():
    label, looks, odd = conflicting()
    said = torch.where(torch.arange(400) % 2 == 0, label, looks)  # gives the labels of half of them
    found = judge_minority(odd, label, told(looks, 4), True, said)
    assert found.kind == "minority"
    assert found.numbers["chosen"] == found.numbers["odd"] == found.numbers["asked"] == 20
    assert found.numbers["label"] == found.numbers["looks"] == 10
    assert found.numbers["expected"] == 1
    mostly = torch.where(torch.arange(400) < 4, label, looks)
    found_less = judge_minority(odd, label, told(looks, 4), True, mostly)
    assert (found_less.kind, found_less.numbers["label"]) == ("minority", 4), "by no error are four labels given"
    assert found_less.numbers["p_looks"] < 0.01
    assert "it took 20 of 400 samples (5.0%)" in found.sentence
    assert "20 of them look like another class" in found.sentence
    assert found.sentence.endswith("so that they do contradict a shortcut.")


def test_where_no_cue_is_told_from_the_label_they_may_be_hard():
    label, looks, odd = conflicting()
    logits = told(looks, 4)
    assert judge_minority(odd, label, logits, False, label).kind == "unclear"
    in_doubt = told(looks, 4, torch.where(odd, 0.2, torch.linspace(0.1, 9, 400)))
    found = judge_minority(odd, label, in_doubt, True, label)
    assert found.kind == "unclear"
    assert "hard samples" in found.sentence
    assert found.numbers["clarity"] < 0.5


def test_nobody_more_than_half_and_a_minority_lost_in_a_crowd():
    label, looks, odd = conflicting()
    logits = told(looks, 4)
    nobody = judge_minority(torch.zeros(400).bool(), label, logits, True, label)
    assert (nobody.kind, dict(nobody.numbers)) == ("nobody", {"chosen": 0})
    assert judge_minority(torch.arange(400) < 201, label, logits, True, label).kind == "too many"
    crowd = judge_minority(torch.arange(400) < 60, label, logits, True, label)
    assert crowd.kind == "too many", "20 of 60, which are more than an eighth"
    assert "most are not in it" in crowd.sentence
    assert judge_minority(torch.arange(400) < 50, label, logits, True, label).kind == "minority", "an eighth"
    assert judge_minority(odd, label, logits, True).kind == "unclear", "nobody was asked"


def test_a_few_are_unclear_rather_than_noise():
    label, looks, _ = conflicting()
    three = torch.arange(400) < 3
    found = judge_minority(three, label, told(looks, 4), True, looks)
    assert found.kind == "unclear"
    assert "cannot be told" in found.sentence


def test_every_sentence_is_one_and_begins_in_lower_case():
    label, looks, odd = conflicting()
    for chosen in (odd, ~odd, torch.arange(400) % 7 == 0, torch.zeros(400).bool(), torch.arange(400) < 60):
        for said in (None, label, looks):
            for separates in (True, False):
                found = judge_minority(chosen, label, told(looks, 4), separates, said)
                assert found.kind in KINDS
                assert found.sentence[0].islower()
                assert found.sentence.endswith(".")
                assert "nan" not in found.sentence


# --- whom a method takes ----------------------------------------------------------------------------------------------


def test_the_weights_that_are_remembered_are_those_of_the_last_visit():
    difficulty = Difficulty(Info("toy", (1,), 2, n_stored=4))
    index, label = torch.arange(4), torch.tensor([0, 1, 0, 1])
    losses = torch.rand(2, 4, generator=generator(0))
    weight = difficulty.update(index, label, *losses)
    assert torch.equal(difficulty.weights(index, label), weight)
    peak = torch.stack([losses[:, ::2].amax(1), losses[:, 1::2].amax(1)], 1)
    biased, debiased = losses / peak[:, label]
    assert torch.allclose(weight, biased / (biased + debiased))


def made(name: str, data: Dataset, **options: Any) -> Any:
    return build(name, data.info, net="mlp:hidden=8", options=options)


def test_whom_each_method_takes_for_the_minority():
    data = shortcut(8)
    jtt = made("jtt", data)
    jtt.chosen[3] = True
    assert jtt.minority(data).tolist() == [False] * 3 + [True] + [False] * 4
    assert made("jtt", data, identify="oracle").minority(data) is None
    assert made("jm1", data, identify="none").minority(data) is None
    umix = made("umix", data)
    umix.weight[:] = torch.tensor([1, 1, 1, 1, 1, 1, 9, 2])
    assert umix.minority(data).nonzero().flatten().tolist() == [6]
    xrm = made("xrm", data)
    xrm.chosen[2] = True
    assert xrm.minority(data.take(torch.tensor([2, 0]))).tolist() == [True, False]
    assert made("fg-ccdb", data, identify="attribute").minority(data) is None
    assert made("fg-ccdb", data).minority(data) is not None
    for name in ("lff", "dfa"):
        method = made(name, data)
        method.difficulty.update(
            data.index,
            data.label,
            torch.tensor([9.0, 9, 1, 1, 1, 1, 1, 1]),
            torch.ones(8) - torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0, 0]),
        )
        assert method.minority(data).tolist() == [True] * 2 + [False] * 6
    assert made("erm", data).minority(data) is None
    assert made("selecmix", data).minority(data) is None


# --- end to end -------------------------------------------------------------------------------------------------------

LOOP = Training(epochs=3, batch=64, pool=1, lr=1e-2)


def planted(n: int = 1200, conflicting: float = 0.08, seed: int = 0) -> Dataset:
    """Coordinate 0 tells the label, in units in which coordinate 1, the cue, is far larger."""
    label = torch.arange(n) % 2
    other = torch.rand(n, generator=generator(seed, 1)) < conflicting
    told = 2.0 * torch.stack([label, torch.where(other, 1 - label, label)], 1) - 1
    spread = torch.tensor([0.5, 0.2]) * torch.randn(n, 2, generator=generator(seed, 2))
    return Dataset.of((told + spread) * torch.tensor([1.0, 10.0]), label, told[:, 1].gt(0).long(), aligned=(0, 1))


@pytest.mark.examined
def test_a_planted_minority_is_one_nothing_of_the_run_changes_and_a_resumed_run_says_the_same():
    data = planted()
    splits, states = Splits(data, None, data), []
    how: dict[str, Any] = {"seed": 1, "select": "last"}
    keep = calling(on_epoch=lambda epoch: states.append(epoch.state()) if epoch.epoch == 2 else None)
    plain = fit(made("jtt", data, helper_epochs=2, record="evaluated"), splits, LOOP, **how)
    found = fit(
        made("jtt", data, helper_epochs=2, record="evaluated"), splits, LOOP, observers=[keep], examined=True, **how
    )
    assert plain.verdict is None
    assert found.verdict is not None
    assert found.verdict.kind == "minority", found.verdict.sentence
    ours, theirs = found.method.state_dict(), plain.method.state_dict()
    assert all(
        torch.equal(value, theirs[name])
        for name, value in ours.items()
        if isinstance(value, Tensor) and "extra" not in name
    )
    again = fit(
        made("jtt", data, helper_epochs=2, record="evaluated"), splits, LOOP, state=states[0], examined=True, **how
    )
    assert again.verdict == found.verdict


def helper(method: Any, train: Dataset, *, observers: Any = (), **training: Any) -> Any:
    return fit(method, Splits(train, None, train), dataclasses.replace(LOOP, **training), observers=observers).method


def choosing(data: Dataset, chosen: Tensor) -> Any:
    """A method that took these for the minority."""
    method = made("erm", data)
    method.minority = lambda train: chosen[train.index]
    return method


def test_who_takes_nobody_by_himself_costs_nothing():
    data, numbers = shortcut(20), Dataset.of(torch.rand(20, 2), torch.rand(20))

    def never(*args: Any, **how: Any) -> Any:
        raise AssertionError

    assert examine(made("erm", data), data, never, 0) is None
    assert examine(made("jtt", numbers), numbers, never, 0) is None, "a regression"
    found = examine(choosing(data, torch.ones(20).bool()), data, never, 0)
    assert found is not None
    assert found.kind == "too many"
    found = examine(choosing(data, torch.zeros(20).bool()), data, never, 0)
    assert found is not None
    assert found.kind == "nobody"


def test_a_net_beside_the_run_that_fails_loses_no_run():
    data = shortcut(20)

    def fails(*args: Any, **how: Any) -> Any:
        raise UserError("the loss stopped being finite.")

    found = examine(choosing(data, torch.arange(20) < 2), data, fails, 0)
    assert found is not None
    assert (found.kind, found.sentence.endswith("failed: the loss stopped being finite.")) == ("unclear", True)


def test_wrong_labels_and_random_ones_end_to_end():
    clean = shortcut(1000, 0.5)  # an attribute that is no shortcut
    noisy = label_noise(Dataset.of(clean.x[:, :1] + 2.0 * clean.label[:, None], clean.label), 0.2, generator(1))
    wrong = noisy.label != clean.label
    found = examine(choosing(noisy, wrong), noisy, helper, 0)
    assert found is not None
    assert found.kind == "noise", found.sentence
    found = examine(choosing(noisy, torch.arange(1000) % 10 == 3), noisy, helper, 0)
    assert found is not None
    assert found.kind == "chance", found.sentence


@pytest.mark.examined
def test_the_sentence_stands_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evidence, "examine", lambda *told: Verdict("noise", {}, "it took 3 for the minority."))
    record = execute(plan("colored-digits", "lff", settings={"epochs": 1, "net": "mlp:hidden=8"}), tmp_path / "run")
    assert record.remarks == runs.read(tmp_path / "run").record.remarks == ("it took 3 for the minority.",)


def test_the_answer_of_the_asked_comes_from_the_half_that_the_sample_is_not_in(monkeypatch: pytest.MonkeyPatch):
    data = shortcut(40).take(torch.cat([torch.arange(40), torch.tensor([5])]))
    seen = []
    monkeypatch.setattr(evidence, "predict", lambda net, held, device: torch.eye(2)[[len(seen) - 1] * len(held)])

    def learns(net: Any, half: Any, **how: Any) -> Any:
        seen.append(set(half.index.tolist()))
        return net

    said = evidence.asked(data, data.label, cast(Any, learns), seed=3)
    assert len(said) == 41
    others = [half - seen[1 - i] for i, half in enumerate(seen)]
    for row, index in enumerate(data.index.tolist()):
        if index != 5:
            assert index in others[1 - int(said[row])]


def test_those_that_look_otherwise_weigh_as_much_as_the_rest_of_their_class(monkeypatch: pytest.MonkeyPatch):
    data, weights = shortcut(40), []
    looks = torch.where(torch.arange(40) < 10, 1 - data.label, data.label)

    def learns(net: Any, half: Any, **how: Any) -> Any:
        weights.append(net.weight)
        return net

    evidence.asked(data, looks, cast(Any, learns), seed=0)
    odd = looks != data.label
    for value in (0, 1):
        own = data.label == value
        assert weights[0][own & odd].sum() == pytest.approx(1.0)
        assert weights[0][own & ~odd].sum() == pytest.approx(1.0)
