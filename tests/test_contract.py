"""What every registered method, pair rule, blend, loss and data set must do; a new one is tested by being registered.

A method is tried with its defaults and with each of its ``variants``, on the data that it says it learns: images,
tables and token ids, classes and targets. The toys of ``toys.py`` must pass as well, for what is asked here is asked of
methods to come. Nets and metrics have their own suites, which this one asks whether they cover all.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_archives
import torch
from test_own_data import EXAMPLES, spec
from toys import TOYS

from longcut import contrast, losses, mixing, penalties, regression_losses
from longcut.context import Context, calling
from longcut.data import Batch, Dataset, Splits, generator, pools
from longcut.datasets import DATASETS, load
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import HOMES, METHODS, build
from longcut.mixing import blends, distances, labels, pairs, ratios
from longcut.spec import Option, options_of

TRAINING = Training(epochs=3, batch=16, pool=2, lr=1e-2, average=0.8, schedule="cosine")
LOOP = {field.name for field in dataclasses.fields(Training)}
HELPER = {"helper_epochs": 1, "helper_lr": 1e-4}  # one that still errs
CHOOSING_CLASSES = ("similar-mix", "transplant")  # of two classes the other one is no choice
COMPARING = ("auto", "evals", "neurontune")  # on held-out samples, of which they need some
PARTLY = ("ssa",)  # spreading an attribute that is known for some
OF_TARGETS = {"resample": {"by": "group"}, "reweight": {"by": "group"}}  # which have no classes


class Case(NamedTuple):
    """A method with options, and the data it is tried on."""

    method: Any
    options: dict[str, Any]
    data: str

    @property
    def id(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return (
            f"{self.method.name}{':' if options else ''}{options}{'' if self.data == 'images' else ' on ' + self.data}"
        )


def cases() -> Iterator[Case]:
    for method in (*METHODS.own.values(), *TOYS):
        if "classification" in method.tasks:
            yield from (Case(method, dict(options), "images") for options in ({}, *method.variants))
        if "regression" in method.tasks:
            data = "targets" if "table" in method.kinds else "target images"
            only = () if "classification" in method.tasks else method.variants
            yield from (Case(method, dict(options), data) for options in (OF_TARGETS.get(method.name, {}), *only))


def three_classes(n: int, seed: int) -> Dataset:
    """Labels as brightness in one of three columns; half of the samples have label 0."""
    label = (torch.arange(n) % 4 - 1).clamp_min(0)
    x = torch.randint(0, 90, (n, 3, 8, 9), generator=generator(seed, 3), dtype=torch.uint8)
    x[torch.arange(n), :, 2:6, 3 * label + 1] += 80
    return Dataset.of(x, label, label, name="three classes", aligned=(0, 1, 2))


def tiny_images(n: int, seed: int) -> Dataset:
    """Two labels as brightness at the left or right, an attribute as colour that agrees with three in four.

    One label in sixteen is wrong, so that even a good helper misses somebody, and one class is larger.
    """
    g = generator(seed, 1)
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 8 < 6, label, 1 - label)
    x = torch.randint(0, 60, (n, 3, 8, 8), generator=g, dtype=torch.uint8)
    for side in (0, 1):
        x[label == side, :, :, 4 * side : 4 * side + 4] += 80
        x[attribute == side, side] += 100
    label = torch.where(torch.arange(n) % 16 == 3, 1 - label, label)
    data = Dataset.of(x, label, attribute, name="tiny images", aligned=(0, 1))
    return data.take(torch.arange(n) % 10 != 9)


def tiny_targets(n: int, seed: int) -> Dataset:
    """A table whose target is a sum of two columns, one of which the attribute shifts."""
    x = torch.randn(n, 4, generator=generator(seed, 2))
    attribute = torch.arange(n) % 2
    return Dataset.of(x, x[:, 0] + x[:, 1] + attribute, attribute, name="tiny targets")


def tiny_target_images(n: int, seed: int) -> Dataset:
    """Images whose target is how bright they are in the middle."""
    x = torch.randint(0, 256, (n, 3, 8, 8), generator=generator(seed, 3), dtype=torch.uint8)
    target = x[:, :, 2:6, 2:6].float().mean((1, 2, 3)) / 255 - 0.5
    return Dataset.of(x, target, torch.arange(n) % 2, name="tiny target images")


@pytest.fixture(scope="module")
def data() -> dict[str, Splits]:
    tables = {"targets": tiny_targets, "target images": tiny_target_images}
    made = {"images": tiny_images, "three": three_classes, **tables}
    found = {name: Splits(make(70, 0), make(26, 1), make(44, 2)) for name, make in made.items()}
    few = found["images"].train  # an attribute that nothing tells, so that every net guesses it otherwise
    told = torch.randint(2, (len(few),), generator=generator(7))
    some = dataclasses.replace(few, attribute=torch.where(torch.arange(len(few)) % 2 > 0, -1, told))
    partly = dataclasses.replace(found["images"], train=some)
    return found | {"many": dataclasses.replace(found["images"], train=tiny_images(300, 0)), "partly": partly}


@pytest.fixture(scope="module")
def splits(data: dict[str, Splits]) -> Splits:
    return data["images"]


every_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases()])


def made(method: Any, options: dict[str, Any], splits: Splits, seed: int = 0) -> Any:
    """Built with its options; a method with a helper gets one that still errs, unless it has its own."""
    known = {option.name for option in options_of(method.__init__)}
    helper = HELPER if method.name in ("jtt", "jm1") else {}
    given = {**helper, **{key: value for key, value in options.items() if key not in LOOP | {"net"}}}
    given = {key: value for key, value in given.items() if key in known or key not in helper}
    return build(method, splits.info, net=options.get("net", "mlp:hidden=12"), options=given, seed=seed)


def fitted(method: Any, options: dict[str, Any], splits: Splits, seed: int = 0, **how: Any) -> Any:
    training = dataclasses.replace(TRAINING, **{key: value for key, value in options.items() if key in LOOP})
    return fit(made(method, options, splits, seed), splits, training, seed=seed, **how)


def weights(method: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """To the bit; what was not recorded, nan, is like itself."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


# --- methods ----------------------------------------------------------------------------------------------------------


@every_case
def test_a_few_steps_change_every_parameter_and_stay_finite(case, data):
    splits = data[case.data]
    model = made(case.method, case.options, splits)
    before = weights(model)
    done = fit(model, splits, dataclasses.replace(TRAINING, average=0.0))
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert not torch.equal(parameter, before[name]), f"{name} was never trained"
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in done.history)
    assert model(splits.test.gather(torch.arange(5))).shape == (5, splits.info.n_classes)


@every_case
def test_the_same_seed_gives_the_same_bits_and_the_callers_random_state_stays(case, data):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    one = fitted(case.method, case.options, data[case.data], seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(999)
    other = fitted(case.method, case.options, data[case.data], seed=4)
    third = fitted(case.method, case.options, data[case.data], seed=5)
    assert same(weights(one.method), weights(other.method))
    assert not same(weights(one.method), weights(third.method))


@every_case
@pytest.mark.parametrize("stop", [1, 2])
def test_interrupted_and_resumed_equals_uninterrupted(case, data, stop):
    files: dict[int, bytes] = {}

    def keep(epoch):
        buffer = io.BytesIO()
        torch.save(epoch.state(), buffer)
        files[epoch.epoch] = buffer.getvalue()

    how: dict[str, Any] = {"select": "best:average" if case.method.judged_by_epoch else "last"}
    whole = fitted(case.method, case.options, data[case.data], observers=[calling(on_epoch=keep)], **how)
    state = torch.load(io.BytesIO(files[stop]), weights_only=True)
    resumed = fitted(case.method, case.options, data[case.data], state=state, **how)
    assert same(weights(whole.method), weights(resumed.method))
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in f.history] for f in (whole, resumed)]
    assert str(timeless[0]) == str(timeless[1])  # as text, where nan is nan


@every_case
def test_saved_and_loaded_gives_the_same_outputs(case, data):
    splits = data[case.data]
    trained = fitted(case.method, case.options, splits).method
    again = made(case.method, case.options, splits, seed=9)
    again.load_state_dict(trained.state_dict())
    x = splits.test.gather(torch.arange(20))
    assert torch.equal(again.eval()(x), trained(x))


def helped(helper: Any, train: Dataset, *, observers: Any = (), **training: Any) -> Any:
    how = dataclasses.replace(TRAINING, **training)
    return fit(helper, Splits(train, None, train), how, observers=observers).method


@every_case
def test_odd_batches_a_missing_class_a_missing_group_a_single_sample(case, data):
    splits = data[case.data]
    model = made(case.method, case.options, splits)
    model.context = Context(generator(0), splits.train)
    torch.manual_seed(0)  # of the helpers
    train = model.prepare(splits.train, helped)
    optimizers = model.optimizers(TRAINING)
    low = train.label.reshape(len(train), -1)[:, 0] <= 0
    one_class = low.nonzero().flatten()[:10]
    one_group = (train.group == train.group[0]).nonzero().flatten()[:7]  # a method may find nobody for the first
    for epoch, rows in enumerate([torch.arange(12), one_class, one_group, one_group[:1], torch.arange(13)]):
        model.on_epoch(Context(generator(0, epoch), train, epoch=epoch, epochs=9))
        pool = model.on_pool(train.batch(rows))
        loss, logs = model.step(pool, optimizers, torch.Tensor.backward)
        assert torch.isfinite(loss), f"batch {epoch}"
        assert all(torch.isfinite(value).all() for value in logs.values())
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def altered(option: Option) -> list[Any]:
    """Other allowed values of an option, some of which must make a difference."""
    own = {
        "candidates": [1.0],
        "penalties": ["0.05"],
        "identify": ["oracle", *option.choices],
        "ways": [1],
        "grids": ["2"],
        "sizes": ["0.1", "1"],
        "threshold": [0.5, 9.0],
        "border": [50.0],
        "views": ["flip", "feature-swap"],
        "runners": ["jtt"],
        "strengths": ["1"],
    }  # few samples; lists; no folder; two classes; colours that differ little
    if option.name in own:
        return own[option.name]
    if option.choices:
        return [choice for choice in option.choices if choice != option.default]
    if option.type is bool:
        return [not option.default]
    if option.type is str:
        return ["mlp:hidden=5"]
    return [(option.default or 1.0) / 4, (option.default or 1.0) / 2] if "float" in str(option.type) else [2, 5]


def contexts(method: Any, option: Option) -> list[dict[str, Any]]:
    """What an option may need beside it: nothing, or the rest of a variant that has it."""
    return [{}, *({**v, option.name: None} for v in method.variants if option.name in v)]


@pytest.mark.parametrize(
    ("method", "option"),
    [
        pytest.param(method, option, id=f"{name}.{option.name}")
        for name, method in METHODS.own.items()
        for option in options_of(method.__init__)
        if not (option.name == "identify" and name in ("umix", "eiil", "afr"))  # names a folder, see test_identify.py
        if (name, option.name) != ("balanced-head", "unknown")  # all attributes are known, see test_balanced_head.py
    ],
)
def test_each_hyperparameter_matters(method, option, data):
    images = "three" if method.name in CHOOSING_CLASSES else "many" if method.name in COMPARING else "images"
    images = "partly" if method.name in PARTLY else images
    kinds = [kind for task, kind in (("classification", images), ("regression", "targets")) if task in method.tasks]
    for kind, context in itertools.product(kinds, contexts(method, option)):
        beside = {key: value for key, value in context.items() if key != option.name}
        with suppress(UserError):  # some do not go with these data
            reference = weights(fitted(method, beside, data[kind]).method)
            for value in altered(option):
                with suppress(UserError):
                    if not same(reference, weights(fitted(method, {**beside, option.name: value}, data[kind]).method)):
                        return
    pytest.fail(f"{option.name} changes nothing; where it acts only beside another option, name both in a variant")


@every_case
def test_a_missing_attribute_is_fine_or_refused_in_one_sentence(case, data):
    parts = data[case.data]
    blind = Splits(
        *(Dataset.of(part.x[part.index], part.label, name="blind") for part in (parts.train, parts.valid, parts.test))  # type: ignore[union-attr]
    )
    told = {("by", "group"), ("pairs", "attribute"), ("identify", "oracle"), ("identify", "attribute")}
    if "attribute" not in case.method.needs and not told & {*case.options.items()}:
        fitted(case.method, {**case.options, "epochs": 1}, blind)
        return
    with pytest.raises(UserError, match=r"needs the attribute of each training sample, but blind has none"):
        fitted(case.method, case.options, blind)


@pytest.mark.parametrize("name", METHODS.own)
def test_a_task_that_is_not_learned_is_refused_in_one_sentence(name, data):
    method = METHODS[name]
    for task, kind in (("classification", "images"), ("regression", "targets")):
        if task not in method.tasks:
            with pytest.raises(UserError, match=rf"{name} .*(learns|is regression|needs images|needs classes)"):
                fitted(method, {}, data[kind])
            assert method.needs_classes or task == "classification", "say why it learns no regression"


@pytest.mark.parametrize("name", ["lisa", "selecmix"])
@pytest.mark.parametrize("mode", ["A", "B", "both"])
def test_no_partner_in_the_whole_training_set_is_refused(name, mode, splits):
    options = {"mode": mode, **({"pairs": "attribute"} if name == "selecmix" else {})}
    one_sided = dataclasses.replace(splits, train=splits.train.take(~splits.train.conflicting))
    with pytest.raises(UserError, match=f"{name} finds no pair to mix in mode .*no sample contradicts the shortcut"):
        fitted(METHODS[name], options, one_sided)


@pytest.mark.parametrize("name", METHODS.own)
def test_every_recipe_builds_and_says_why(name, splits):
    for recipe in METHODS[name].recipes.values():
        assert len(recipe.why) > 10
        made(METHODS[name], {"net": "conv:width=2", **recipe.options}, splits)
        Training(**recipe.training)


@pytest.mark.parametrize("name", METHODS.own)
def test_every_method_and_option_says_what_it_is(name):
    cls = METHODS[name]
    assert cls.name == name
    assert cls.paper
    assert cls.__doc__
    for option in options_of(cls.__init__):
        assert option.help, f"{name}.{option.name} has no description"
    annotated = {option.name for option in options_of(cls.__init__)}
    keywords = set(getattr(cls.__init__, "__kwdefaults__", None) or {})
    assert keywords <= annotated, "every keyword argument is an annotated option"


# --- pair rules -------------------------------------------------------------------------------------------------------


def alike(batch, pool):
    """A similarity that any batch and pool can be asked."""
    return batch.x.flatten(1) @ pool.gather(torch.arange(len(pool))).flatten(1).T


PAIR_RULES = {
    "anyone": mixing.anyone(),
    "same_label": mixing.same_label(),
    "same_label, other attribute": mixing.same_label(other_attribute=True),
    "same_attribute": mixing.same_attribute(),
    "keyed": mixing.keyed(lambda batch: batch.label, lambda pool: pool.label),
    "across": mixing.across(torch.arange(70) % 3 == 0),
    "contradicting positive": mixing.contradicting(alike, "positive"),
    "contradicting negative": mixing.contradicting(alike, "negative", within=0.3),
    "apart": mixing.apart(alike),
    "sometimes": mixing.sometimes(mixing.same_label(), 0.5),
    "weighted": mixing.weighted(alike),
    "either": mixing.either(mixing.same_label(), mixing.anyone()),
    "by_class": mixing.by_class(torch.zeros(2, 2).fill_diagonal_(-torch.inf)),
    "nearest": mixing.nearest(3, alike),
    "nearest, not oneself": mixing.nearest(3, mixing.others(alike)),
}


def test_every_public_pair_rule_is_under_the_contract():
    public = {*pairs.__all__, *distances.__all__}
    public -= {"PAIRS", "choose", "coin", "near_weights", "others", "require_contradiction"}
    tried = {name.split(",")[0].split(" ")[0] for name in PAIR_RULES}
    assert public == tried, "write what is in __all__ into PAIR_RULES, made as it is to be tried"
    for name, rule in mixing.PAIRS.own.items():
        assert rule is getattr(mixing, name.replace("-", "_")), f"'{name}' is the function of that name"


@pytest.mark.parametrize("rule", PAIR_RULES.values(), ids=PAIR_RULES)
@pytest.mark.parametrize("n", [1, 2, 17])
def test_every_pair_rule_returns_positions_in_the_pool(rule, n, splits):
    batch = splits.train.batch(torch.arange(n))
    for pool in (batch, splits.train.batch(torch.arange(20, 40)), splits.train, splits.train.take(torch.arange(0))):
        if len(pool) == 0 and rule is PAIR_RULES["anyone"]:
            continue
        pairs = rule(batch, pool, generator(1))
        again = rule(batch, pool, generator(1))
        assert pairs.partner.shape == pairs.found.shape == (n,)
        assert pairs.found.dtype == torch.bool
        assert ((pairs.partner >= 0) & (pairs.partner < max(len(pool), 1))).all()
        assert torch.equal(pairs.partner, again.partner)
        if not len(pool):
            assert not pairs.found.any()


# --- ratio rules, blends and label rules --------------------------------------------------------------------------

RATIOS = {
    "uniform": mixing.uniform(0.2, 0.9),
    "uniform, batch": mixing.uniform(scope="batch"),
    "beta": mixing.beta(0.5),
}
LABELS = {"proportional": mixing.proportional, "own": mixing.own, "of_partner": mixing.of_partner}


def test_every_public_ratio_blend_and_label_rule_is_under_the_contract():
    assert {name.split(",")[0] for name in RATIOS} == {*ratios.__all__}
    assert {name.replace("_", "-") for name in blends.__all__} - {"BLENDS"} == {*mixing.BLENDS.own}
    assert {*LABELS} == {*labels.__all__} - {"binary_loss", "target_loss"}


@pytest.mark.parametrize("ratio", RATIOS.values(), ids=RATIOS)
@pytest.mark.parametrize("n", [0, 1, 9])
def test_every_ratio_rule_gives_a_share_for_each_sample(ratio, n):
    share = ratio(n, generator(1))
    assert share.shape == (n,)
    assert ((share >= 0) & (share <= 1)).all()
    assert torch.equal(share, ratio(n, generator(1)))


def blended(blend, own, partner, share, draw):
    """Also by a blend that looks at labels and a net."""
    if not isinstance(blend, mixing.Seeing):
        return blend(own, partner, share, draw)
    net = torch.nn.Linear(own[0].numel(), 3)
    label = torch.arange(len(own)) % 3
    return blend.blend(own, partner, share, draw, mixing.Seen(label, label.flip(0), lambda x: net(x.flatten(1))))


@pytest.mark.parametrize("blend", mixing.BLENDS.own.values(), ids=mixing.BLENDS.own)
@pytest.mark.parametrize("n", [1, 8])
def test_every_blend_keeps_the_anchor_at_one_and_says_what_it_made(blend, n):
    own, partner = torch.rand(2, n, 3, 8, 6, generator=generator(2))
    mixed, realised = blended(blend, own, partner, torch.ones(n), generator(3))
    assert torch.equal(mixed, own)
    assert torch.equal(realised, torch.ones(n))
    share = torch.rand(n, generator=generator(4))
    mixed, realised = blended(blend, own, partner, share, generator(5))
    assert mixed.shape == own.shape
    assert ((realised >= 0) & (realised <= 1)).all()
    ones, none = torch.ones_like(own), torch.zeros_like(own)
    shown, realised = blended(blend, ones, none, share, generator(5))  # the mean of the anchor's part is its share
    torch.testing.assert_close(shown.mean((1, 2, 3)), realised)


@pytest.mark.parametrize("blend", mixing.BLENDS.own.values(), ids=mixing.BLENDS.own)
@pytest.mark.parametrize("shape", [(4, 5), (4, 7, 6), (4, 1, 1, 1)])
def test_every_blend_takes_tables_texts_and_single_pixels_or_says_why_not(blend, shape):
    own, partner = torch.rand(2, *shape, generator=generator(2))
    try:
        mixed, realised = blended(blend, own, partner, torch.rand(4, generator=generator(4)), generator(5))
    except UserError:
        return
    assert mixed.shape == shape and realised.shape == (4,)


def test_no_two_methods_of_ours_have_one_name():
    assert len(METHODS.own) == len(HOMES)


@pytest.mark.parametrize("rule", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("width", [None, 3])
def test_every_label_rule_takes_ids_and_vectors(rule, width):
    own, partner = (torch.arange(6) % 3, torch.arange(6) % 2) if width is None else torch.rand(2, 6, width)
    target = rule(own, partner, torch.linspace(0, 1, 6))
    assert torch.equal(target.weight_a, torch.ones(6))
    torch.testing.assert_close(target.soft(3).sum(1), torch.ones(6) if width is None else target.soft(3).sum(1))
    assert target.soft(3).shape == (6, 3)


# --- losses -----------------------------------------------------------------------------------------------------------

LOSSES = {
    "squared_error": lambda output, label: losses.squared_error(output, label[:, None].float()),
    "absolute_error": lambda output, label: regression_losses.absolute_error(output, label[:, None].float()),
    "huber_error": lambda output, label: regression_losses.huber_error(
        output, label[:, None].float().expand_as(output)
    ),
    "quantile_error": lambda output, label: regression_losses.quantile_error(output, label[:, None].float(), level=0.9),
    "cross_entropy": lambda logits, label: losses.cross_entropy(logits, label),
    "gce": lambda logits, label: losses.gce(logits, label),
    "relative_difficulty": lambda logits, label: losses.relative_difficulty(
        losses.cross_entropy(logits, label), losses.cross_entropy(-logits, label)
    ),
    "supervised_contrastive": lambda z, label: contrast.supervised_contrastive(
        torch.nn.functional.normalize(z, dim=1), label, reduction="none"
    ),
    "generalized_supervised_contrastive": lambda z, label: contrast.generalized_supervised_contrastive(
        torch.nn.functional.normalize(z, dim=1), label, reduction="none"
    ),
    "simclr_loss": lambda z, label: contrast.simclr_loss(both(z), reduction="none")[:9],
    "debiased_contrastive": lambda z, label: contrast.debiased_contrastive(both(z), reduction="none")[:9],
    "hard_contrastive": lambda z, label: contrast.hard_contrastive(both(z), reduction="none")[:9],
    "weighted_contrastive": lambda z, label: contrast.weighted_contrastive(
        both(z), contrast.difficulty_weight(both(z), both(z[:, :2])), reduction="none"
    )[:9],
    "anchor_losses": lambda z, label: contrast.anchor_losses(both(z), tau=0.05).loss[:9],
    "contrastive_triplet": lambda z, label: 5 + contrast.contrastive_triplet(both(z), reduction="none")[:9],
    "decoupled_contrastive": lambda z, label: 5 + contrast.decoupled_contrastive(both(z), reduction="none")[:9],
}  # the last two are as low as -4


def both(z: torch.Tensor) -> torch.Tensor:
    """Two views of each sample."""
    return torch.cat([z, z.roll(1, 1)])


def test_every_public_loss_is_under_the_contract():
    every = {*losses.__all__, *regression_losses.__all__, *contrast.__all__}
    assert set(LOSSES) == every - {"LOSSES", "regression_loss", "Anchors", "difficulty_weight", "weight_of_distances"}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_is_per_sample_equivariant_and_finite(loss):
    logits, label = torch.randn(9, 4, generator=generator(2)), torch.arange(9) % 4
    values = loss(logits, label)
    order = torch.randperm(9, generator=generator(3))
    assert values.shape == (9,)
    assert values.dtype == torch.float32
    torch.testing.assert_close(loss(logits[order], label[order]), values[order])
    assert torch.isfinite(loss(1e4 * logits, label)).all()
    assert (values >= 0).all()


# --- penalties --------------------------------------------------------------------------------------------------------

PENALTIES = {
    "hsic": lambda z, label, attribute: penalties.hsic(penalties.rbf(z), penalties.rbf(z[:, :2])),
    "disentangle": penalties.disentangle,
    "entangle": penalties.entangle,
}


def test_every_public_penalty_is_under_the_contract():
    assert set(PENALTIES) | {"rbf"} == set(penalties.__all__)


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_every_penalty_is_one_number_whatever_the_order_of_the_batch(penalty):
    z = torch.nn.functional.normalize(torch.randn(12, 4, generator=generator(2)), dim=1).requires_grad_()
    label, attribute = torch.arange(12) % 3, torch.arange(12) % 4 % 2
    order = torch.randperm(12, generator=generator(3))
    value = penalty(z, label, attribute)
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float32
    torch.testing.assert_close(penalty(z[order], label[order], attribute[order]), value)
    assert z.grad is not None and torch.isfinite(z.grad).all() and z.grad.any()


# --- data sets --------------------------------------------------------------------------------------------------------

ELSEWHERE = (
    "colored-mnist-png",
    "waterbirds",
    "celeba",
    "multinli",
    "multinli-dev",
    "civilcomments",
    "camelyon17",
    "hub",
    "cifar100",
    "airfoil",
    "no2",
    "exchange-rate",
    "crime",
    "skillcraft",
    "rcf-mnist",
    "adult",
    "compas",
    "german",
    "embedded",
    "spread",
    "answered",
)  # own suites
LOADABLE = [
    *EXAMPLES,  # of somebody's own data, written to a folder
    *test_archives.SPECS,  # small archives in every published layout
    pytest.param("colored-digits"),
    pytest.param("colored-mnist", marks=pytest.mark.data),
    pytest.param("mnist", marks=pytest.mark.data),
    pytest.param("colored-mnist:recipe=lff", marks=pytest.mark.data),
    pytest.param("corrupted-cifar10", marks=pytest.mark.data),
    pytest.param("cifar10:imbalance=100", marks=pytest.mark.data),
    pytest.param("thinned:data=colored-digits,per_class=9,imbalance=3"),
]
NAMED = {str(one.values[0] if hasattr(one, "values") else one).partition(":")[0] for one in LOADABLE}
LOADABLE += [name for name in DATASETS.own if name not in {*NAMED, *ELSEWHERE, "folder", "table", "arrays", "shards"}]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Splits]]:
    """Every example of somebody's own data."""
    root = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGCUT_CACHE", str(root / "cache"))
        yield {kind: load(spec(kind, root)) for kind in EXAMPLES}


@pytest.mark.parametrize("kind", ["table", "text", "arrays"])
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id) for case in cases() if case.method not in TOYS and case.data == "images"]
)
def test_every_method_learns_from_tables_and_text_or_says_why_not(case, kind, own):
    method, options, info = case.method, dict(case.options), own[kind].info
    if "auxiliary" in options and kind == "text":
        options["auxiliary"] = "tokens:width=8"
    options["net"] = "auto"
    images = r"needs images|blend 'cut' needs images|mixes inputs, but .* holds token ids"
    if info.kind not in method.kinds or options.get("blend") == "cut" or (options.get("base"), kind) == ("dfa", "text"):
        with pytest.raises(UserError, match=images):
            fitted(method, options, own[kind])
        return
    before = weights(made(method, options, own[kind]).net)
    done = fitted(method, {**options, "epochs": 2}, own[kind])
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in done.history)
    assert all(torch.isfinite(value).all() for value in done.method.net.state_dict().values())
    assert not same(before, weights(done.method.net))
    test = own[kind].test
    assert done.method(test.gather(torch.arange(len(test)))).shape == (len(test), 2)


@pytest.mark.parametrize("data_set", LOADABLE)
def test_every_data_set_keeps_the_promises_of_its_columns(data_set, tmp_path, monkeypatch):
    monkeypatch.setenv("LONGCUT_CACHE", str(tmp_path / "cache"))
    name = spec(data_set, tmp_path) if data_set in EXAMPLES else data_set
    if data_set in test_archives.SPECS:
        test_archives.prepare(tmp_path, monkeypatch)
        test_archives.make(data_set, tmp_path)
    data, again = load(name, seed=1), load(name, seed=1)
    for name in ("train", "valid", "test"):
        part, twin = getattr(data, name), getattr(again, name)
        if part is None:
            continue
        assert torch.equal(part.label, twin.label)
        assert torch.equal(part.gather(torch.arange(3)), twin.gather(torch.arange(3)))
        kinds = {"image": torch.uint8, "table": torch.float32, "tokens": torch.int64}
        assert part.x.dtype == kinds[part.info.kind]
        assert len(part.index.unique()) == len(part), "each sample once"
        assert int(part.index.max()) < part.info.n_stored == len(part.x)
        assert set(part.label.tolist()) == set(range(part.info.n_classes))
        assert len(part.info.class_names) == part.info.n_classes
        assert len(part.info.attribute_names) == part.info.n_attributes
        assert len(part.info.aligned) == (part.info.n_classes if part.info.n_attributes else 0)
    if data.valid is not None and data.valid.x is data.train.x:
        assert not set(data.valid.index.tolist()) & set(data.train.index.tolist())
    batch = next(iter(pools(data.train, 8, generator(0))))
    if data.info.kind == "tokens":
        assert 0 <= int(batch.x.min()) <= int(batch.x.max()) < data.info.vocabulary
    else:
        assert batch.x.dtype == torch.float32
    if data.info.kind == "image":
        assert 0 <= float(batch.x.min()) <= float(batch.x.max()) <= 1


def test_every_registered_data_set_names_known_training_settings():
    fields = {field.name for field in dataclasses.fields(Training)} | {"net"}
    for entry in DATASETS.own.values():
        assert set(entry.training) <= fields
        assert callable(entry.function)


def test_a_batch_without_index_is_refused_by_who_needs_it(splits):
    model = made(METHODS["lff"], {}, splits)
    with pytest.raises(
        UserError, match=r"a memory per sample needs to know who is who; pass Batch\(x, label, index=…\)"
    ):
        model.loss(Batch(torch.rand(2, 3, 8, 8), torch.tensor([0, 1])))
