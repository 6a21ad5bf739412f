"""What every registered method, pair rule, loss and data set must do; a new one is tested by being registered.

Methods that only exist with certain options (SelecMix on LfF, LISA balanced …) are in ``VARIANTS``; the toys of
``toys.py`` must pass as well, for what is asked here is asked of methods to come.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import test_archives
import torch
from test_own_data import EXAMPLES, spec
from toys import TOYS

from longcut import contrast, losses, mixing, penalties
from longcut.data import Batch, Dataset, Splits, generator, pools
from longcut.datasets import DATASETS, load
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.methods import METHODS, build
from longcut.spec import options_of

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "mixup": [{"blend": "cut"}, {"blend": "keep-both"}, {"partner": "same-label"}, {"base": "lff"}],
    "resample": [{"by": "group"}, {"by": "group", "how": "subsample"}],
    "reweight": [{"by": "group"}, {"by": "group", "weights": "sqrt"}, {"weights": "effective", "beta": 0.9}],
    "cvar-dro": [{"outliers": 0.1}],
    "chi2-dro": [{"outliers": 0.1}],
    "group-dro": [{"adjustment": 1.0, "updates": "present", "normalise": True}, {"balanced": False}],
    "eiil": [{"cross": True, "balanced": False}],
    "dfr": [{"fit_on": "train", "by": "class"}, {"scaler": "train", "subsamples": 2}],
    "afr": [{"pull": 0.1, "balanced": True, "head_clip": 0.0}],
    "jtt": [{"identify": "oracle"}, {"upweight": 3, "count": "total"}, {"record": "evaluated"}],
    "jm1": [
        {"identify": "oracle", "level": "input", "law": "upper-half"},
        {"identify": "none", "conditional": False},
        {"level": "output", "sampler": "full"},
        {"level": "early", "scope": "batch", "oversample": 3},
        {"conditional": False, "blend": "keep-both", "record": "evaluated"},
    ],
    "group-jm1": [{"objective": "erm", "level": "output"}],
    "umix": [{"mix": "cut"}, {"mix": "output", "sigma": 1.0}, {"count": "paper"}],
    "lff": [{"scale": "code"}],
    "dfa": [{"scale": "code"}, {"delay": 0.0}],
    "hex": [{"normalise": "batch", "direction": "up-left"}],
    "end": [{"pairs": "code"}],
    "rebias": [{"sigma": 1.0}, {"biased": "tiny"}],
    "lisa": [{"mode": "A"}, {"mode": "B", "blend": "keep-both"}, {"balanced": True}],
    "selecmix": [
        {"base": "lff"},
        {"pairs": "attribute"},
        {"partners": "pool", "mode": "A"},
        {"blend": "keep-both", "contrast": "sc", "mode": "B"},
        {"auxiliary": "mlp:hidden=8", "within": 0.5, "raw": 0.5},
        {"auxiliary_steps": 3},
        {"pairs": "cosine", "auxiliary_optimizer": "sgd", "auxiliary_lr": 0.01},
        {"pairs": "kl", "pretrain": 1},
        {"pairs": "l2", "argmax": "code", "partners": "pool", "raw_forward": True},
        {"base": "dfa"},
        {"base": "end", "pairs": "attribute", "partner": "first"},
        {"base": "rebias"},
    ],
}
CASES = [
    *(pytest.param(cls, {}, id=name) for name, cls in METHODS.items()),
    *(
        pytest.param(METHODS[name], options, id=f"{name}:" + ",".join(f"{k}={v}" for k, v in options.items()))
        for name, variants in VARIANTS.items()
        for options in variants
    ),
    *(pytest.param(toy, {}, id=toy.name) for toy in TOYS),
]
every_method = pytest.mark.parametrize(("method", "options"), CASES)
TRAINING = Training(epochs=3, batch=16, pool=2, lr=1e-2, average=0.8, schedule="cosine")


def tiny_images(n: int, seed: int) -> Dataset:
    """Two labels as brightness at the left or right, an attribute as colour that agrees with three in four.

    One label in sixteen is wrong, so that even a good helper misses somebody.
    """
    g = generator(seed, 1)
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 8 < 6, label, 1 - label)
    x = torch.randint(0, 60, (n, 3, 8, 8), generator=g, dtype=torch.uint8)
    for side in (0, 1):
        x[label == side, :, :, 4 * side : 4 * side + 4] += 80
        x[attribute == side, side] += 100
    label = torch.where(torch.arange(n) % 16 == 3, 1 - label, label)
    return Dataset.of(x, label, attribute, name="tiny images", aligned=(0, 1))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(tiny_images(64, 0), tiny_images(24, 1), tiny_images(40, 2))


def made(method: Any, options: dict[str, Any], splits: Splits, seed: int = 0, net: str = "mlp:hidden=12") -> Any:
    slow = {"helper_epochs": 1, "helper_lr": 1e-4} if method.name in ("jtt", "jm1") else {}  # a helper that still errs
    return build(method, splits.info, net=net, options={**slow, **options}, seed=seed)


def weights(method: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- methods ----------------------------------------------------------------------------------------------------------


@every_method
def test_a_few_steps_change_every_parameter_and_stay_finite(method, options, splits):
    model = made(method, options, splits)
    before = weights(model)
    fitted = fit(model, splits, dataclasses.replace(TRAINING, average=0.0))
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert not torch.equal(parameter, before[name]), f"{name} was never trained"
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in fitted.history)
    assert model(splits.test.gather(torch.arange(5))).shape == (5, 2)


@every_method
def test_the_same_seed_gives_the_same_bits_and_the_callers_random_state_stays(method, options, splits):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    one = fit(made(method, options, splits, seed=4), splits, TRAINING, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(999)
    other = fit(made(method, options, splits, seed=4), splits, TRAINING, seed=4)
    third = fit(made(method, options, splits, seed=5), splits, TRAINING, seed=5)
    assert same(weights(one.method), weights(other.method))
    assert not same(weights(one.method), weights(third.method))


@every_method
@pytest.mark.parametrize("stop", [1, 2])
def test_interrupted_and_resumed_equals_uninterrupted(method, options, splits, stop):
    whole = fit(made(method, options, splits), splits, TRAINING, select="best:average")
    files: dict[int, bytes] = {}

    def on_epoch(epoch):
        buffer = io.BytesIO()
        torch.save(epoch.state(), buffer)
        files[epoch.epoch] = buffer.getvalue()

    fit(made(method, options, splits), splits, TRAINING, select="best:average", on_epoch=on_epoch)
    state = torch.load(io.BytesIO(files[stop]), weights_only=True)
    resumed = fit(made(method, options, splits), splits, TRAINING, select="best:average", state=state)
    assert same(weights(whole.method), weights(resumed.method))
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in f.history] for f in (whole, resumed)]
    assert str(timeless[0]) == str(timeless[1])  # as text, where nan is nan


@every_method
def test_saved_and_loaded_gives_the_same_outputs(method, options, splits):
    fitted = fit(made(method, options, splits), splits, TRAINING).method
    again = made(method, options, splits, seed=9)
    again.load_state_dict(fitted.state_dict())
    x = splits.test.gather(torch.arange(20))
    assert torch.equal(again.eval()(x), fitted(x))


def trained(helper: Any, data: Dataset, **training: Any) -> Any:
    return fit(helper, Splits(data, None, data), dataclasses.replace(TRAINING, **training)).method


@every_method
def test_odd_batches_a_missing_class_a_missing_group_a_single_sample(method, options, splits):
    model = made(method, options, splits)
    model.generator = generator(0)
    train = model.prepare(splits.train, trained)
    model.train_data = train
    optimizers = model.optimizers(TRAINING)
    one_class = (train.label == 0).nonzero().flatten()[:10]
    one_group = (train.group == 0).nonzero().flatten()[:7]
    for epoch, rows in enumerate([torch.arange(12), one_class, one_group, one_group[:1], torch.arange(13)]):
        model.on_epoch(epoch, 9)
        pool = model.on_pool(train.batch(rows))
        loss, logs = model.step(pool, optimizers, torch.Tensor.backward)
        assert torch.isfinite(loss), f"batch {epoch}"
        assert all(torch.isfinite(value).all() for value in logs.values())
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def altered(option: Any) -> list[Any]:
    """Other allowed values of an option, some of which must make a difference."""
    if option.name == "candidates":
        return [1.0]  # smaller shares are rounded up to two samples on data this small
    if option.name == "penalties":
        return ["0.05"]
    if option.name == "identify":
        return ["oracle"]
    kind = option.type
    if type(None) in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not type(None))
    choices = get_args(kind)
    if kind is bool:
        return [not option.default]
    if choices:
        return [choice for choice in choices if choice != option.default]
    if kind is str:
        return ["mlp:hidden=5"]
    return [(option.default or 1.0) / 4, (option.default or 1.0) / 2] if kind is float else [2, 5]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        pytest.param(n, o, id=f"{n}.{o.name}")
        for n, cls in METHODS.items()
        for o in options_of(cls.__init__)
        if not (o.name == "identify" and n in ("umix", "eiil", "afr"))  # names a folder, see test_identify.py
    ],
)
def test_each_hyperparameter_matters(name, option, splits):
    # what an option acts on must be switched on first
    context = {
        "jtt": {"count": {"upweight": 3}},
        "umix": {"start": {"helper_epochs": 8}},
        "reweight": {"weights": {"by": "group"}, "beta": {"by": "group", "weights": "effective"}},
        "group-dro": {"updates": {"adjustment": 2.0, "balanced": False, "step": 1.0}},
        "afr": {"balanced": {"unequal": True}},
        "eiil": {
            "env_lr": {"env_steps": 50},
            "helper_epochs": {"helper_lr": 1e-3},
            "helper_lr": {"helper_epochs": 1},
            "helper_weight_decay": {"helper_lr": 1e-3},
        },
        "xrm": {"helper_lr": {"helper_epochs": 1}},
        "mixup": {"mixed_weight": {"base": "lff"}, "lff_scale": {"base": "lff"}},
        "selecmix": {
            "lff_scale": {"base": "lff"},
            "search": {"candidates": 1.0},
            "auxiliary_steps": {"auxiliary_lr": 0.01},
            "raw": {"pairs": "attribute"},
            "share_a": {"mode": "A"},
            "share_b": {"mode": "B"},
            "argmax": {"partners": "pool", "mode": "B", "raw": 0.0},
            "partner": {"pairs": "attribute", "raw": 0.0},
            "confirm": {"raw": 5.0, "auxiliary_lr": 1e-6},
            "raw_forward": {"net": "conv:width=2"},
        },
    }
    base = dict(context.get(name, {}).get(option.name, {}))
    net = base.pop("net", "mlp:hidden=12")
    if base.pop("unequal", False):  # classes
        splits = dataclasses.replace(splits, train=splits.train.take(torch.arange(len(splits.train)) % 4 > 0))
    reference = weights(fit(made(METHODS[name], base, splits, net=net), splits, TRAINING).method)
    others = [
        weights(fit(made(METHODS[name], {**base, option.name: value}, splits, net=net), splits, TRAINING).method)
        for value in altered(option)
    ]
    assert any(not same(reference, other) for other in others)


@every_method
def test_a_missing_attribute_is_fine_or_refused_in_one_sentence(method, options, splits):
    blind = Splits(
        *(Dataset.of(part.x, part.label, name="blind") for part in (splits.train, splits.valid, splits.test))  # type: ignore[union-attr]
    )
    needs = "attribute" in method.needs or options.get("by") == "group" or options.get("pairs") == "attribute"
    needs = needs or options.get("identify") == "oracle"
    if not needs:
        fit(made(method, options, blind), blind, dataclasses.replace(TRAINING, epochs=1))
        return
    with pytest.raises(UserError, match=r"needs the attribute of each training sample, but blind has none"):
        fit(made(method, options, blind), blind, TRAINING)


@pytest.mark.parametrize("name", ["lisa", "selecmix"])
@pytest.mark.parametrize("mode", ["A", "B", "both"])
def test_no_partner_in_the_whole_training_set_is_refused(name, mode, splits):
    train = splits.train.take(~splits.train.conflicting)
    model = made(METHODS[name], {"mode": mode, **({"pairs": "attribute"} if name == "selecmix" else {})}, splits)
    with pytest.raises(UserError, match=f"{name} finds no pair to mix in mode .*no sample contradicts the shortcut"):
        fit(model, dataclasses.replace(splits, train=train), TRAINING)


@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_builds_and_says_why(name, splits):
    for recipe in METHODS[name].recipes.values():
        assert len(recipe.why) > 10
        made(METHODS[name], dict(recipe.options), splits)
        Training(**recipe.training)


@pytest.mark.parametrize("name", METHODS)
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
    "across": mixing.across(torch.arange(64) % 3 == 0),
    "contradicting positive": mixing.contradicting(alike, "positive"),
    "contradicting negative": mixing.contradicting(alike, "negative", within=0.3),
    "sometimes": mixing.sometimes(mixing.same_label(), 0.5),
    "either": mixing.either(mixing.same_label(), mixing.anyone()),
}


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


# --- losses -----------------------------------------------------------------------------------------------------------

LOSSES = {
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
}


def test_every_public_loss_is_under_the_contract():
    assert set(LOSSES) == {*losses.__all__, *contrast.__all__}


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

LOADABLE = [
    *EXAMPLES,  # of somebody's own data, written to a folder
    *test_archives.SPECS,  # small archives in every published layout
    pytest.param("colored-digits"),
    pytest.param("colored-mnist", marks=pytest.mark.data),
    pytest.param("colored-mnist:recipe=lff", marks=pytest.mark.data),
    pytest.param("corrupted-cifar10", marks=pytest.mark.data),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Splits]]:
    """Every example of somebody's own data."""
    root = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGCUT_CACHE", str(root / "cache"))
        yield {kind: load(spec(kind, root)) for kind in EXAMPLES}


@pytest.mark.parametrize("kind", ["table", "text", "arrays"])
@pytest.mark.parametrize(("method", "options"), [case for case in CASES if case.values[0] not in TOYS])
def test_every_method_learns_from_tables_and_text_or_says_why_not(method, options, kind, own):
    if options.get("auxiliary") is not None and kind == "text":
        options = options | {"auxiliary": "tokens:width=8"}
    training = dataclasses.replace(TRAINING, epochs=2)
    if method.name == "hex" and own[kind].info.kind != "image":
        with pytest.raises(UserError, match=r"hex looks at neighbouring pixels and needs images"):
            build(method, own[kind].info, net="auto", options=options)
        return
    if options.get("base") == "dfa" and kind == "text":
        with pytest.raises(UserError, match=r"base=dfa mixes inputs, but .* holds token ids"):
            build(method, own[kind].info, net="auto", options=options)
        return
    model = build(method, own[kind].info, net="auto", options=options)
    before = weights(model.net)
    if "cut" in (options.get("blend"), options.get("mix")):
        with pytest.raises(UserError, match=r"blend 'cut' needs images \(n, C, H, W\)"):
            fit(model, own[kind], training)
        return
    fitted = fit(model, own[kind], training)
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in fitted.history)
    assert all(torch.isfinite(value).all() for value in fitted.method.net.state_dict().values())
    assert not same(before, weights(fitted.method.net))
    test = own[kind].test
    assert fitted.method(test.gather(torch.arange(len(test)))).shape == (len(test), 2)


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
    for entry in DATASETS.values():
        assert set(entry.training) <= fields
        assert callable(entry.function)


def test_a_batch_without_identity_is_refused_by_who_needs_it(splits):
    model = made(METHODS["lff"], {}, splits)
    with pytest.raises(
        UserError, match=r"a memory per sample needs to know who is who; pass Batch\(x, label, index=…\)"
    ):
        model.loss(Batch(torch.rand(2, 3, 8, 8), torch.tensor([0, 1])))
