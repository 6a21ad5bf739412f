from __future__ import annotations

import inspect
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from longcut import nets
from longcut.data import Dataset, Info, Splits, generator
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import build as build_method
from longcut.nets import NETS, build
from longcut.nets.layers import GlobalMean
from longcut.nets.shrunk import shrunk
from longcut.registry import load_file
from longcut.spec import options_of, validate, write
from longcut.training import Training

IMAGE = Info("pictures", (3, 32, 32), 10, kind="image")
TABLE = Info("people", (7,), 3, kind="table")
TOKENS = Info("reviews", (12,), 2, kind="tokens", vocabulary=50)
KINDS = {"image": IMAGE, "photo": Info("photos", (3, 64, 64), 10, kind="image"), "table": TABLE, "tokens": TOKENS}
KINDS["series"] = Info("rates", (30, 3), 3, kind="table")
LAYOUT, PICTURES = (Path(__file__).parent / name for name in ("tiny_bert", "tiny_convnext"))
EXAMPLES: dict[str, dict[str, str]] = {  # of every net, a quick one for each kind of data that it takes
    "auto": dict.fromkeys(("image", "table", "tokens"), "auto"),
    "conv": {"image": "conv"},
    "densenet121": {"photo": "densenet121:growth=4"},
    "hf": {
        "tokens": write("hf", {"name": LAYOUT, "weights": "none"}),
        "photo": write("hf", {"name": PICTURES, "weights": "none"}),
    },
    "linear": dict.fromkeys(("image", "table"), "linear"),
    "mlp": dict.fromkeys(("image", "table"), "mlp"),
    "resnet18": {"image": "resnet18"},
    "resnet50": {"photo": "resnet50:width=4"},
    "stack": {"image": "stack"},
    "tiny": dict.fromkeys(("image", "table", "tokens"), "tiny"),
    "glance": dict.fromkeys(("image", "table", "tokens"), "glance"),
    "tokens": {"tokens": "tokens"},
    "transformer": {"tokens": "transformer"},
    "highway": {"series": "highway:window=4"},
    "lstnet": {"series": "lstnet:skip=5,window=7"},
    "efficientnet-lite0": {"photo": "efficientnet-lite0:weights=none,tune=all,side=64"},
}
IMAGE_VARIANTS = [
    "resnet18:stem=imagenet",
    "resnet18:width=4",
    "resnet18:width=4,inputs=imagenet",
    "stack:kernel=1",
]
VARIANTS = [
    *(("image", spec) for spec in IMAGE_VARIANTS),
    ("photo", "resnet50:width=4,norm=frozen"),
    ("photo", "resnet50:width=4,stem=cifar"),
    ("tokens", "transformer:width=8,heads=2,layers=1,pool=first"),
]
IMAGE_SPECS = [*(made["image"] for made in EXAMPLES.values() if "image" in made), *IMAGE_VARIANTS]
hub = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
FITS = [
    *(
        pytest.param(spec, KINDS[kind], id=f"{name}-{kind}", marks=[hub] * (name == "hf"))
        for name, made in EXAMPLES.items()
        for kind, spec in made.items()
    ),
    *(pytest.param(spec, KINDS[kind], id=f"{spec}-{kind}") for kind, spec in VARIANTS),
]


def inputs(info: Info, n: int = 4) -> Tensor:
    if info.kind == "tokens":
        return torch.randint(1, info.vocabulary, (n, *info.shape), generator=generator(0))
    return torch.rand(n, *info.shape, generator=generator(0))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- every net --------------------------------------------------------------------------------------------------------


def test_every_net_has_an_example():
    assert EXAMPLES.keys() == NETS.own.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_net_may_be_told_is_described_and_its_defaults_are_allowed(name):
    keywords = {p.name for p in inspect.signature(NETS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {option.name for option in options_of(NETS[name])} == keywords
    for option in options_of(NETS[name]):
        assert option.help and option.allowed
        for given in (option.default, str(option.default)):
            assert validate(name, NETS[name], {option.name: given}) == {option.name: option.default}
        if option.name == "weights":  # what `blank` relies on
            assert validate(name, NETS[name], {"weights": "none"})


@pytest.mark.parametrize("name", EXAMPLES)
def test_other_kinds_of_data_are_refused_in_one_sentence(name):
    taken = {KINDS[kind].kind for kind in EXAMPLES[name]}
    for info in (info for info in KINDS.values() if info.kind not in taken):
        sentence = rf"^net '{name}' needs [^.]*, but {info.name} [^.]*; use net '\w+'[^.]*\.$"
        with pytest.raises(UserError, match=sentence):
            build(name, info)


@pytest.mark.parametrize(("spec", "info"), FITS)
def test_net_is_its_head_on_its_features(spec, info):
    net, x = build(spec, info).eval(), inputs(info)
    features = net.features(x)
    assert isinstance(net.head, nn.Linear)
    assert features.shape == (4, net.head.in_features) == (4, net.width)
    assert net(x).shape == (4, info.n_classes)
    assert torch.equal(net(x), net.head(features))
    for stage in net.stages:
        x = stage(x)
    assert torch.equal(x, features)


def test_the_head_takes_the_features_as_they_are():
    net, x = nets.Net([nn.Linear(3, 4), nn.Tanh()], nn.Linear(4, 2)), inputs(TABLE)[:, :3]
    features = net.stages[0](x).tanh()
    torch.testing.assert_close(net(x), features @ net.head.weight.T + net.head.bias)


@pytest.mark.parametrize(("spec", "info"), FITS)
def test_outputs_can_be_asked_for(spec, info):
    assert build(spec, info, 5).eval()(inputs(info)).shape == (4, 5)


@pytest.mark.parametrize(("spec", "info"), FITS)
def test_a_sample_alone_is_what_it_is_in_company(spec, info):
    net, x = build(spec, info).eval(), inputs(info)
    torch.testing.assert_close(torch.cat([net(row[None]) for row in x]), net(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("spec", "info"), FITS)
def test_every_parameter_learns(spec, info):
    net = build(spec, info)
    net(inputs(info)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        if not name.endswith("key.bias"):  # a softmax over keys does not see what is added to all of them
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 21), (3, 40, 9), (2, 9, 9)])
@pytest.mark.parametrize(
    "spec",
    [
        *(s for s in IMAGE_SPECS if "inputs" not in s),
        "densenet121:growth=2,inputs=unit",
        "resnet50:width=2,inputs=unit",
    ],
)
def test_images_small_odd_and_not_square(spec, shape):
    info = Info("pictures", shape, 4, kind="image")
    output = build(spec, info).eval()(inputs(info, 1))
    assert output.shape == (1, 4) and torch.isfinite(output).all()


@pytest.mark.parametrize(
    ("spec", "info", "message"),
    [
        ("conv", TABLE, r"net 'conv' needs images \(C, H, W\), but people has shape \(7,\); use net 'mlp'"),
        ("resnet18", TABLE, r"net 'resnet18' needs images \(C, H, W\), but people has shape \(7,\); use net 'mlp'"),
        ("conv", TOKENS, r"net 'conv' needs images \(C, H, W\), but reviews has shape \(12,\); use net 'tokens'"),
        ("resnet18", TOKENS, r"net 'resnet18' needs images .*; use net 'tokens'"),
        ("mlp", TOKENS, "net 'mlp' needs numbers, but reviews holds token ids; use net 'tokens'"),
        ("linear", TOKENS, "net 'linear' needs numbers, but reviews holds token ids; use net 'tokens'"),
        ("resnet50", TABLE, r"net 'resnet50' needs images \(C, H, W\), but people has shape \(7,\); use net 'mlp'"),
        ("densenet121", TOKENS, r"net 'densenet121' needs images .*; use net 'tokens'"),
        ("transformer", TABLE, "net 'transformer' needs token ids, but people is of kind 'table'; use net 'mlp'"),
        ("tokens", IMAGE, "net 'tokens' needs token ids, but pictures is of kind 'image'; use net 'mlp' or 'conv'"),
        ("tokens", TABLE, "net 'tokens' needs token ids, but people is of kind 'table'; use net 'mlp' or 'conv'"),
    ],
)
def test_data_that_a_net_does_not_take(spec, info, message):
    with pytest.raises(UserError, match=message):
        build(spec, info)


@pytest.mark.parametrize(
    ("spec", "info", "levels"),
    [
        ("mlp", IMAGE, (0, 2, 3, 4)),
        ("mlp:hidden=5", TABLE, (0, 2)),
        ("linear", IMAGE, (0,)),  # whose features are the input
        ("conv", IMAGE, (0, 1, 2, 3, 4, 5)),
        ("conv:side=10", IMAGE, (0, 2, 3, 4, 5, 6)),  # a shrunken image is no level of its own
        ("stack", IMAGE, (0, 1, 2, 3, 4, 5)),
        ("tiny", IMAGE, (0, 2, 3, 5)),
        ("tokens", TOKENS, (1, 3)),  # ids cannot be mixed, their embeddings can
        ("transformer", TOKENS, (1,)),  # the pooled features
        ("resnet50:width=2", IMAGE, (0, 3, 4, 5, 6, 7)),
        ("resnet50:width=2,inputs=unit", IMAGE, (0, 2, 3, 4, 5, 6)),
        ("densenet121:growth=2", IMAGE, (0, 3, 4, 5, 6, 7)),
        ("resnet18", IMAGE, (0, 2, 3, 4, 5, 6)),  # early is behind the first residual stage
        ("resnet18:inputs=cifar", IMAGE, (0, 3, 4, 5, 6, 7)),
    ],
)
def test_levels_at_which_samples_may_be_mixed(spec, info, levels):
    net = build(spec, info)
    assert net.levels == levels
    assert net.levels[-1] == (0 if spec == "linear" else len(net.stages))


@pytest.mark.parametrize(("spec", "info", "levels"), [("mlp", TABLE, (0, 1)), ("tokens", TOKENS, (1,))])
def test_the_two_encoders_of_dfa_are_one_stage(spec, info, levels):
    assert build_method("dfa", info, net=spec).net.levels == levels


def test_levels_can_be_given():
    stages = [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 4), nn.Tanh()]
    assert nets.Net(stages, nn.Linear(4, 2)).levels == (0, 1, 3, 4)
    assert nets.Net(stages, nn.Linear(4, 2), levels=[0, 4]).levels == (0, 4)


# --- how large --------------------------------------------------------------------------------------------------------


def convolution(c: int, width: int, kernel: int) -> int:
    """Without bias, with the two numbers per channel of batch normalisation."""
    return c * width * kernel**2 + 2 * width


def linear(width_in: int, width: int) -> int:
    return width_in * width + width


def residual_stages() -> int:
    """Of ResNet-18: four stages of two blocks of two convolutions; a skip of the last three is a convolution, too."""
    total = 4 * convolution(64, 64, 3)
    for width in (128, 256, 512):
        total += (
            convolution(width // 2, width, 3) + 3 * convolution(width, width, 3) + convolution(width // 2, width, 1)
        )
    return total


@pytest.mark.parametrize(
    ("spec", "shape", "outputs", "count"),
    [
        # published: DFA's and SelecMix's net for Colored MNIST; ResNet-18 for ImageNet (torchvision states 11,689,512)
        ("mlp", (3, 28, 28), 10, 247_186),
        ("resnet18:stem=imagenet", (3, 224, 224), 1000, 11_689_512),
        ("resnet50", (3, 224, 224), 1000, 25_557_032),  # torchvision states this, and the next
        ("densenet121", (3, 224, 224), 1000, 7_978_856),
        ("resnet50:stem=cifar", (3, 32, 32), 1000, 25_557_032 - convolution(3, 64, 7) + convolution(3, 64, 3)),
        ("resnet18:stem=imagenet", (3, 32, 32), 10, 11_176_512 + 5_130),
        ("resnet18:stem=cifar", (3, 32, 32), 10, 11_168_832 + 5_130),
        # derived, layer by layer
        ("mlp", (3, 28, 28), 10, linear(2352, 100) + linear(100, 100) + linear(100, 16) + linear(16, 10)),
        ("resnet18:stem=imagenet", (3, 32, 32), 10, convolution(3, 64, 7) + residual_stages() + linear(512, 10)),
        ("resnet18", (1, 32, 32), 10, convolution(1, 64, 3) + residual_stages() + linear(512, 10)),
        (
            "conv:width=8",
            (3, 28, 28),
            5,
            convolution(3, 8, 3)
            + convolution(8, 16, 3)
            + convolution(16, 16, 3)
            + convolution(16, 32, 3)
            + linear(32, 5),
        ),
        ("tiny", (3, 28, 28), 10, convolution(3, 16, 5) + convolution(16, 32, 3) + linear(32, 128) + linear(128, 10)),
    ],
)
def test_number_of_parameters(spec, shape, outputs, count):
    assert parameters(build(spec, Info("pictures", shape, outputs, kind="image"))) == count


def test_a_narrow_resnet18_and_the_nets_of_rebias_have_the_parameters_of_their_layers():
    def count(spec):
        return parameters(build(spec, Info("pictures", (3, 28, 28), 10, kind="image")))

    assert count("stack") == sum(convolution(a, b, 7) for a, b in ((3, 16), (16, 32), (32, 64), (64, 128))) + linear(
        128, 10
    )
    assert count("stack:kernel=1") == sum(
        convolution(a, b, 1) for a, b in ((3, 16), (16, 32), (32, 64), (64, 128))
    ) + linear(128, 10)
    assert 15 < count("resnet18") / count("resnet18:width=16") < 16.1


@pytest.mark.parametrize(("kernel", "reach"), [(1, 0), (3, 4), (7, 12)])
def test_what_a_stack_sees(kernel, reach):
    """The gradient of one pixel of the last map ends ``4 * (kernel // 2)`` pixels from it."""
    net = build(f"stack:kernel={kernel},width=4", Info("pictures", (3, 33, 33), 2, kind="image")).eval()
    x = torch.rand(1, 3, 33, 33, requires_grad=True)
    maps = x
    for stage in list(net.stages)[:-1]:
        assert isinstance(stage, nn.Sequential)
        maps = stage[0](maps)  # the convolution alone, for a ReLU may be shut
    maps[0, :, 16, 16].sum().backward()
    seen = x.grad[0].abs().sum(0).nonzero()  # type: ignore[index]
    assert seen.min() == 16 - reach
    assert seen.max() == 16 + reach


def test_inputs_are_standardised_by_cifars_statistics():
    net = build("resnet18:width=2,inputs=cifar", IMAGE)
    x = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    torch.testing.assert_close(net.stages[0](x), torch.zeros(1, 3, 4, 4))
    torch.testing.assert_close(net.stages[0](x + 0.1)[0, :, 0, 0], 0.1 / torch.tensor([0.2023, 0.1994, 0.2010]))
    assert not [name for name in net.state_dict() if "deviation" in name]


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        (
            "resnet18:inputs=imagnet",
            3,
            "net 'resnet18': inputs=imagnet is not allowed; give unit or cifar or imagenet",
        ),
        ("resnet50", 1, "inputs=imagenet needs three channels, but pictures has 1; use inputs=unit"),
        ("densenet121", 4, "inputs=imagenet needs three channels, but pictures has 4; use inputs=unit"),
        ("resnet50:norm=frosen", 3, "net 'resnet50': norm=frosen is not allowed; give batch or frozen"),
        ("resnet18:inputs=cifar", 1, "inputs=cifar needs three channels, but pictures has 1; use inputs=unit"),
        ("stack:kernel=4", 3, "kernel=4 is even; give an odd number, such as 7"),
    ],
)
def test_what_resnet18_and_stack_refuse(spec, channels, message):
    with pytest.raises(UserError, match=message):
        build(spec, Info("pictures", (channels, 28, 28), 10, kind="image"))


def test_number_of_parameters_off_images():
    assert parameters(build("tiny", TABLE)) == linear(7, 64) + linear(64, 3)
    assert parameters(build("tokens:width=6", TOKENS)) == 50 * 6 + linear(6, 6) + linear(6, 2)
    assert parameters(build("tiny:width=6", TOKENS)) == 50 * 12 + linear(12, 12) + linear(12, 2)


def test_backbone_of_resnet18():
    assert parameters(build("resnet18", IMAGE).stages) == 11_168_832


@pytest.mark.parametrize(
    ("spec", "info", "sizes"),
    [
        ("resnet18:stem=cifar", IMAGE, [(64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512,)]),
        ("resnet18:stem=imagenet", IMAGE, [(64, 8, 8), (64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1), (512,)]),
        ("conv", IMAGE, [(32, 32, 32), (64, 16, 16), (64, 16, 16), (128, 8, 8), (128,)]),
        ("conv:side=10", IMAGE, [(3, 8, 8), (32, 8, 8), (64, 4, 4), (64, 4, 4), (128, 2, 2), (128,)]),
        ("conv:side=32", IMAGE, [(32, 32, 32), (64, 16, 16), (64, 16, 16), (128, 8, 8), (128,)]),
        ("tiny:side=14", IMAGE, [(3, 10, 10), (16, 5, 5), (32, 3, 3), (32,), (128,)]),
        ("mlp", TABLE, [(7,), (100,), (100,), (16,)]),
        ("tokens", TOKENS, [(12, 64), (64,), (64,)]),
    ],
)
def test_sizes_along_the_stages(spec, info, sizes):
    x, found = inputs(info), []
    for stage in build(spec, info).stages:
        x = stage(x)
        found.append(tuple(x.shape[1:]))
    assert found == sizes


# --- linear and mlp ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("info", [IMAGE, TABLE])
def test_linear_is_one_layer_whose_features_are_the_inputs(info):
    net, x = build("linear", info), inputs(info)
    assert torch.equal(net.features(x), x.flatten(1))
    torch.testing.assert_close(net(x), x.flatten(1) @ net.head.weight.T + net.head.bias)
    assert parameters(net) == linear(math.prod(info.shape), info.n_classes)


def embeddings(n: int, seed: int) -> Dataset:
    """Two classes that a plane parts, and an attribute that has nothing to do with them."""
    x = torch.randn(n, 5, generator=generator(seed))
    return Dataset.of(x, (x[:, 0] > 0).long(), torch.arange(n) % 2, name="embeddings")


def trained_linear(method: str, **options: Any) -> nets.Net:
    data = Splits(embeddings(256, 0), embeddings(128, 1), embeddings(256, 2))
    made = build_method(method, data.train.info, net="linear", options=options)
    return fit(made, data, Training(epochs=20, batch=32, lr=0.05)).method.net.eval()


@pytest.mark.parametrize("method", ["erm", "mixup", "dfr", "afr"])
def test_linear_learns_in_the_loop_and_by_its_last_layer_alone(method):
    test = embeddings(256, 2)
    outputs = trained_linear(method)(test.x)
    assert (outputs.argmax(1) == test.label).float().mean() > 0.9


def test_all_levels_of_linear_are_its_input():
    first, *others = (trained_linear("jm1", level=level).head.weight for level in ("input", "early", "output"))
    assert all(torch.equal(first, other) for other in others)


def test_mlp_is_the_layers_by_hand():
    net, x = build("mlp:hidden=5-4,scale=0.5", IMAGE), inputs(IMAGE)
    (w1, b1), (w2, b2), (w3, b3) = ((m.weight, m.bias) for m in net.modules() if isinstance(m, nn.Linear))
    hidden = ((0.5 * x.flatten(1)) @ w1.T + b1).clamp(min=0)
    hidden = (hidden @ w2.T + b2).clamp(min=0)
    torch.testing.assert_close(net(x), hidden @ w3.T + b3)


def test_mlp_with_batch_normalisation_behind_each_activation():
    """As in WCL's tables: a hidden unit has mean 0 and variance 1 over a batch, whatever ReLU made of it."""
    net, x = build("mlp:hidden=9-6,norm=batch", TABLE).train(), inputs(TABLE, 64)
    layers = [type(module) for module in net.modules() if not list(module.children())][1:]
    assert layers == [nn.Linear, nn.ReLU, nn.BatchNorm1d] * 2 + [nn.Linear]
    (w1, b1), (w2, b2), _ = ((m.weight, m.bias) for m in net.modules() if isinstance(m, nn.Linear))

    def hidden(z: Tensor, w: Tensor, b: Tensor) -> Tensor:
        z = (z @ w.T + b).clamp(min=0)
        return (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()

    torch.testing.assert_close(net.features(x), hidden(hidden(x, w1, b1), w2, b2), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in build("mlp", TABLE).modules())


def test_dropout_is_for_training():
    """Half of the positive hidden units go, the others double, so that the mean stays."""
    net = build("mlp:hidden=1000,dropout=0.5", TABLE)
    x = inputs(TABLE, 64)
    whole = net.eval().features(x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = net.train().features(x)
    kept = (dropped[whole > 0] > 0).float().mean().item()
    assert kept == pytest.approx(0.5, abs=0.02)
    assert (torch.isclose(dropped, 2 * whole) | (dropped == 0)).all()
    assert not any(isinstance(module, nn.Dropout) for module in build("mlp", TABLE).modules())


@pytest.mark.parametrize("hidden", ["", "wide", "10-", "-5", "10-0", "1.5"])
def test_mlp_refuses_widths_that_are_none(hidden):
    with pytest.raises(UserError, match=f"net 'mlp': hidden={hidden} is not allowed; give text such as 100-100-16"):
        build(f"mlp:hidden={hidden}", TABLE)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, math.nan])
def test_mlp_refuses_a_dropout_out_of_range(dropout):
    message = f"net 'mlp': dropout={dropout} is not allowed; give a number at least 0 and below 1"
    with pytest.raises(UserError, match=message):
        build(f"mlp:dropout={dropout}", TABLE)


# --- images -----------------------------------------------------------------------------------------------------------


def test_shrink_by_hand():
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert nets.Shrink(2)(x).tolist() == [[[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]]]
    assert nets.Shrink(4)(x) is x


@pytest.mark.parametrize(
    ("size", "shrunken"), [((14, 14), (14, 14)), ((15, 29), (7, 14)), ((28, 28), (14, 14)), ((224, 448), (14, 28))]
)
def test_shrink_makes_the_short_side_at_most_the_side(size, shrunken):
    assert nets.Shrink(14)(torch.zeros(1, 1, *size)).shape[-2:] == shrunken


@pytest.mark.parametrize(
    ("info", "same_as"),
    [
        (IMAGE, "conv"),
        (Info("photos", (3, 72, 90), 2, kind="image"), "conv:side=40"),  # 72 pixels become 36
        (TABLE, "mlp:hidden=100-100"),
        (TOKENS, "tokens"),
    ],
)
def test_auto_is_what_suits_the_data(info, same_as):
    net, other = build("auto", info), build(same_as, info)
    other.load_state_dict(net.state_dict())
    x = inputs(info, 3)
    torch.testing.assert_close(net.eval()(x), other.eval()(x))


def test_global_mean():
    x = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert GlobalMean()(x).tolist() == [[2.5, 8.5]]


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_resnet18_begins_with_fan_out_kaiming_weights(stem):
    """He's variance is 2 / (outputs · kernel²)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(f"resnet18:stem={stem}", IMAGE)
    for conv in (module for module in net.modules() if isinstance(module, nn.Conv2d)):
        expected = math.sqrt(2 / (conv.out_channels * math.prod(conv.kernel_size)))
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_a_residual_block_that_adds_nothing_passes_its_input():
    stage = build("resnet18", IMAGE).stages[2]
    assert isinstance(stage, nn.Sequential)
    x = torch.randn(2, 128, 4, 4, generator=generator(0))
    for norm in (module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.zeros_(norm.weight)
    torch.testing.assert_close(stage[1](x), x.clamp(min=0))


def test_the_imagenet_stem_pools_overlapping_windows():
    """3x3 every other pixel, reaching over the border."""
    stem = build("resnet18:stem=imagenet", IMAGE).stages[0]
    assert isinstance(stem, nn.Sequential)
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert stem[-1](x).tolist() == [[[[6, 8, 9], [16, 18, 19], [21, 23, 24]]]]


def test_refuses_an_unknown_stem():
    with pytest.raises(UserError, match="net 'resnet18': stem=cifr is not allowed; give cifar or imagenet"):
        build("resnet18:stem=cifr", IMAGE)


# --- pretrained images ------------------------------------------------------------------------------------------------


def resnet50_state(width: int = 2, classes: int = 7) -> dict[str, Tensor]:
    """Random weights under the names that torchvision's ResNet-50 has."""
    draw = generator(4)
    state: dict[str, Tensor] = {}

    def convolution(name: str, c: int, out: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(out, c, kernel, kernel, generator=draw) * math.sqrt(2 / (c * kernel**2))

    def norm(name: str, c: int) -> None:
        state[f"{name}.weight"] = torch.rand(c, generator=draw) + 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(c, generator=draw)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(c, generator=draw)
        state[f"{name}.running_var"] = torch.rand(c, generator=draw) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(17)

    convolution("conv1", 3, width, 7)
    norm("bn1", width)
    seen = width
    for i, depth in enumerate((3, 4, 6, 3)):
        inner = width * 2**i
        for block in range(depth):
            name = f"layer{i + 1}.{block}"
            for j, (a, b, kernel) in enumerate([(seen, inner, 1), (inner, inner, 3), (inner, 4 * inner, 1)], 1):
                convolution(f"{name}.conv{j}", a, b, kernel)
                norm(f"{name}.bn{j}", b)
            if block == 0:
                convolution(f"{name}.downsample.0", seen, 4 * inner, 1)
                norm(f"{name}.downsample.1", 4 * inner)
            seen = 4 * inner
    state["fc.weight"], state["fc.bias"] = torch.randn(classes, seen, generator=draw), torch.zeros(classes)
    return state


def resnet50_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Features of images in [0, 1]."""

    def apply(x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{convolution}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return x * state[f"{norm}.weight"][:, None, None] + state[f"{norm}.bias"][:, None, None]

    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    x = F.max_pool2d(apply(x, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for i, depth in enumerate((3, 4, 6, 3), 1):
        for block in range(depth):
            name, stride = f"layer{i}.{block}", 2 if i > 1 and block == 0 else 1
            y = apply(x, f"{name}.conv1", f"{name}.bn1").relu()
            y = apply(y, f"{name}.conv2", f"{name}.bn2", stride).relu()  # the stride is on the 3x3
            y = apply(y, f"{name}.conv3", f"{name}.bn3")
            x = x if block else apply(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = (x + y).relu()
    return x.mean((2, 3))


PHOTOS = Info("photos", (3, 72, 50), 2, kind="image")


def saved(state: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth", "10%2C, of two.pth"])
@pytest.mark.parametrize("counted", [True, False])
def test_resnet50_takes_torchvisions_weights(tmp_path, file, counted):
    state = resnet50_state()
    assert len(state) == 320  # 53 convolutions, each with five tensors of its norm, and a head of two
    if not counted:  # older files do not count batches
        state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    net = build(write("resnet50", {"width": 2, "weights": saved(state, tmp_path / file)}), PHOTOS).eval()
    x = inputs(PHOTOS)
    features = net.features(x)
    torch.testing.assert_close(features, resnet50_by_hand(state, x), atol=1e-4, rtol=1e-4)
    assert features.std() > 0.01
    assert net(x).shape == (4, 2)  # with a head of its own


def test_every_weight_of_resnet50_is_taken(tmp_path):
    state = resnet50_state()
    spec = f"resnet50:width=2,norm=frozen,inputs=unit,weights={saved(state, tmp_path / 'weights.pth')}"
    taken = build(spec, PHOTOS).stages.state_dict()
    assert len(taken) == 318  # all but the head
    known = {value.sum().item() for name, value in state.items() if not name.startswith("fc.")}
    assert {value.sum().item() for value in taken.values()} == known


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "layer3.5.conv2.weight"), "Missing key"),
        (lambda state: state | {"conv1.weight": torch.zeros(2, 1, 7, 7)}, "size mismatch"),
        (lambda state: {f"model.{key}": value for key, value in state.items()}, "key"),
        (lambda state: {"state_dict": state}, "key"),
        (lambda state: torch.zeros(3), "has no attribute 'items'"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, message):
    path = tmp_path / "weights.pth"
    torch.save(change(resnet50_state()), path)
    with pytest.raises(UserError, match=rf"the weights in .*weights.pth do not fit \(.*{message}.*resnet50-0676ba61"):
        build(f"resnet50:width=2,weights={path}", PHOTOS)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_that_are_none(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    with pytest.raises(UserError, match=rf"there is no file .*weights.{suffix}; give torchvision's ResNet50_Weights"):
        build(f"resnet50:width=2,weights={path}", PHOTOS)
    path.write_bytes(b"hello, I hold no weights")
    with pytest.raises(UserError, match="do not fit"):
        build(f"resnet50:width=2,weights={path}", PHOTOS)


def test_nothing_in_a_weights_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"conv1.weight": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="do not fit"):
        build(f"resnet50:width=2,weights={tmp_path / 'weights.pth'}", PHOTOS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_frozen_statistics_survive_training(tmp_path, average):
    """What is seen in training is what is seen in evaluation; factors and offsets learn."""
    info = Info("photos", (3, 32, 32), 2, kind="image")
    path = saved(resnet50_state(), tmp_path / "weights.pth")
    method = build_method("erm", info, net=f"resnet50:width=2,norm=frozen,weights={path}")
    x = inputs(info)
    with torch.no_grad():
        torch.testing.assert_close(method.train().net(x), method.eval().net(x))
    before = {name: value.clone() for name, value in method.net.state_dict().items()}
    data = Dataset.of((255 * inputs(info, 12)).byte(), torch.arange(12) % 2)
    after = fit(method, Splits(data, None, data), Training(epochs=2, batch=4, average=average)).method.net.state_dict()
    for name, value in before.items():
        frozen = "running" in name or "num_batches" in name
        assert torch.equal(value, after[name]) == frozen, name


def test_running_statistics_move_without_freezing():
    net = build("resnet50:width=2", PHOTOS)
    before = {name: value.clone() for name, value in net.named_buffers() if "running" in name}
    net(inputs(PHOTOS))
    assert not any(torch.equal(value, dict(net.named_buffers())[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        ("resnet50:width=4", [(4, 16, 16), (16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2), (128,)]),
        # 12 channels behind each layer more, the half of them between two blocks
        ("densenet121:growth=4", [(8, 16, 16), (32, 16, 16), (64, 8, 8), (128, 4, 4), (128, 2, 2), (128,)]),
    ],
)
def test_sizes_along_the_deep_nets(spec, sizes):
    x, found = inputs(Info("photos", (3, 64, 64), 2, kind="image")), []
    for stage in build(spec, Info("photos", (3, 64, 64), 2, kind="image")).stages:
        x = stage(x)
        found.append(tuple(x.shape[1:]))
    assert found == [(3, 64, 64), *sizes]


def test_a_dense_layer_keeps_what_it_sees():
    stage: Any = build("densenet121:growth=4", PHOTOS).eval().stages[2]
    x = torch.randn(2, 8, 6, 6, generator=generator(0))
    y = stage[0](x)
    assert torch.equal(y[:, :8], x) and y.shape[1] == 12
    hidden = stage[0].conv1((x / math.sqrt(1 + 1e-5)).relu())  # statistics that have seen nothing are 0 and 1
    new = stage[0].conv2((hidden / math.sqrt(1 + 1e-5)).relu())
    torch.testing.assert_close(y[:, 8:], new)


def test_a_blank_net_needs_no_file(tmp_path):
    path = saved(resnet50_state(), tmp_path / "weights.pth")
    spec = f"resnet50:weights={path},width=2,norm=frozen"
    trained = build(spec, PHOTOS)
    path.unlink()
    again = build(nets.blank(spec), PHOTOS)
    again.load_state_dict(trained.state_dict())
    assert torch.equal(again.eval()(inputs(PHOTOS)), trained.eval()(inputs(PHOTOS)))


@pytest.mark.parametrize(
    ("spec", "blank"),
    [
        ("resnet50", "resnet50:weights=none"),
        ("resnet50:weights=a%2Cb.pth,width=2", "resnet50:weights=none,width=2"),
        ("hf:name=x,weights=pretrained", "hf:name=x,weights=none"),
        ("resnet18:width=4", "resnet18:width=4"),
        ("unheard of", "unheard of"),
    ],
)
def test_blank_specs(spec, blank):
    assert nets.blank(spec) == blank


# --- tokens -----------------------------------------------------------------------------------------------------------


def naive_transformer(net: nets.Net, ids: list[int], heads: int) -> Tensor:
    """A sentence at a time, a head at a time, and each attention written as a softmax."""

    def norm(y: Tensor, layer: Any) -> Tensor:
        y = y - y.mean(1, keepdim=True)
        return y / (y.square().mean(1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias

    stage: Any = net.stages[0]
    width = net.width // heads
    y = torch.stack([stage.token.weight[i] + stage.position.weight[place] for place, i in enumerate(ids)])
    for layer in stage.encoder.layers:
        z = norm(y, layer.norm1)
        query, key, value = (z @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).chunk(3, 1)
        seen = []
        for h in range(heads):
            at = slice(h * width, (h + 1) * width)
            weight = torch.softmax(query[:, at] @ key[:, at].T / math.sqrt(width), 1)
            seen.append(weight @ value[:, at])
        y = y + torch.cat(seen, 1) @ layer.self_attn.out_proj.weight.T + layer.self_attn.out_proj.bias
        z = norm(y, layer.norm2) @ layer.linear1.weight.T + layer.linear1.bias
        z = z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        y = y + z @ layer.linear2.weight.T + layer.linear2.bias
    y = norm(y, stage.encoder.norm)
    return y[0] if stage.pool == "first" else y.mean(0)


@pytest.mark.parametrize("pool", ["mean", "first"])
@pytest.mark.parametrize("grad", [True, False])  # torch takes another way where no gradient is wanted
def test_transformer_is_attention_by_hand_and_does_not_see_padding(pool, grad):
    net = build(f"transformer:width=12,heads=3,pool={pool}", TOKENS).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)  # what begins as zero or one shall count, too
    sentences = [[3, 9, 4, 4, 12], [7], [5] * 12, [8, 3, 9]]
    x = torch.zeros(4, 12, dtype=torch.long)
    for row, ids in zip(x, sentences, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    with torch.set_grad_enabled(grad):
        found = net.features(x)
    expected = torch.stack([naive_transformer(net, ids, 3) for ids in sentences])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(net(torch.zeros_like(x))).all()  # a text of nothing


def test_transformer_drops_in_training_alone():
    net, x = build("transformer:width=8,heads=2,dropout=0.5", TOKENS), inputs(TOKENS)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_text_is_mixed_at_the_pooled_features_of_a_transformer():
    x = inputs(TOKENS)
    method = build_method("mixup", TOKENS, net="transformer:width=8,heads=2").eval()
    features = method.mixable(x)
    torch.testing.assert_close(features, method.net.features(x))
    torch.testing.assert_close(method.outputs(features), method.net(x))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("transformer:width=10,heads=4", "net 'transformer': 4 heads do not divide width=10; give a multiple"),
        ("transformer:pool=last", "net 'transformer': pool=last is not allowed; give mean or first"),
        ("transformer:dropout=1", "net 'transformer': dropout=1 is not allowed; give a number at least 0 and below 1"),
    ],
)
def test_what_a_transformer_refuses(spec, message):
    with pytest.raises(UserError, match=message):
        build(spec, TOKENS)


@pytest.mark.parametrize("spec", ["tokens", "tiny"])
def test_padding_changes_nothing(spec):
    net, words = build(spec, TOKENS), inputs(TOKENS)
    pad = torch.zeros(len(words), 5, dtype=torch.long)
    for padded in (torch.cat([words, pad], 1), torch.cat([pad, words], 1)):
        torch.testing.assert_close(net(padded), net(words))
    assert not torch.allclose(net(words), net(torch.cat([words, pad + 1], 1)))


def test_tokens_is_the_mean_of_the_embeddings_of_words():
    net = build("tokens:width=4", TOKENS)
    embedding, mean = net.stages[0], net.stages[1]
    assert isinstance(embedding, nn.Embedding)
    words = torch.tensor([[3, 0, 7, 3], [0, 0, 0, 0]])
    expected = torch.stack([(2 * embedding.weight[3] + embedding.weight[7]) / 3, torch.zeros(4)])
    torch.testing.assert_close(mean(embedding(words)), expected)
    assert torch.isfinite(net(words)).all()


def test_padding_stays_zero_in_training():
    net = build("tokens", TOKENS)
    optimizer = torch.optim.Adam(net.parameters(), 0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.tensor([[3, 0, 7, 0]])).sum().backward()
        optimizer.step()
    embedding = net.stages[0]
    assert isinstance(embedding, nn.Embedding)
    assert embedding.weight[0].abs().max() == 0


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet1", "unknown net 'resnet1': did you mean 'resnet18'"),
        (
            "",
            "unknown net '': Known: auto, conv, densenet121, efficientnet-lite0, glance, hf, highway, linear, ",
        ),
        ("mlp:hiden=5", "unknown option of net 'mlp' 'hiden': did you mean 'hidden'"),
        ("conv:outputs=5", "unknown option of net 'conv' 'outputs': Known: side, width"),
        ("conv:width=wide", "net 'conv': width=wide is not allowed; give a whole number at least 1"),
        ("conv:width=0", "net 'conv': width=0 is not allowed; give a whole number at least 1"),
        ("tiny:side=-1", "net 'tiny': side=-1 is not allowed; give a whole number at least 1"),
        ("tiny:side=", "net 'tiny': side= is not allowed; give a whole number at least 1"),
        ("tiny:side", "'side' in net 'tiny:side' is not key=value; write tiny:key=value,key=value"),
        ("mlp:hidden=8,", "'' in net 'mlp:hidden=8,' is not key=value; write mlp:key=value,key=value"),
        ("mlp:hidden=8,hidden=4", "'hidden=4' in net 'mlp:hidden=8,hidden=4' is given twice; write mlp:key=value"),
        ("mlp:scale=small", r"net 'mlp': scale=small is not allowed; give a number\."),
        ("mlp:scale=nan", r"net 'mlp': scale=nan is not allowed; give a number\."),
        ("mlp:scale=-inf", r"net 'mlp': scale=-inf is not allowed; give a number\."),
    ],
)
def test_build_refuses(spec, message):
    with pytest.raises(UserError, match=message):
        build(spec, IMAGE)


def test_options_reach_the_net():
    assert parameters(build("mlp:hidden=8-4", TABLE)) == linear(7, 8) + linear(8, 4) + linear(4, 3)
    assert build("tiny:side=7,width=4", IMAGE).stages[0](torch.zeros(1, 3, 28, 28)).shape[-2:] == (7, 7)


def test_the_callers_random_numbers_are_the_nets():
    """A net's weights are drawn by torch itself, so its seed is torch's."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = build("mlp", TABLE)
        torch.manual_seed(1)
        again = build("mlp", TABLE)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


PLUGIN = """
from typing import Annotated

from pydantic import Field
from torch import nn

from longcut.nets import Net

def cube(info, outputs, *, width: Annotated[int, Field(ge=1, description="of the features")] = 3):
    return Net([nn.Linear(*info.shape, width)], nn.Linear(width, outputs))

NETS = {"cube": cube}
"""


def test_a_file_adds_nets(tmp_path):
    path = tmp_path / "cubes.py"
    path.write_text(PLUGIN)
    load_file(path)
    assert build("cube", TABLE).width == 3
    assert build_method("erm", TABLE, net="cube:width=5").net.width == 5
    assert nets.blank("cube:width=5") == "cube:width=5"
    with pytest.raises(UserError, match="net 'cube': width=0 is not allowed; give a whole number at least 1"):
        build("cube:width=0", TABLE)
    path.write_text("")
    load_file(path)
    with pytest.raises(UserError, match="unknown net 'cube'"):
        build("cube", TABLE)


# --- series -----------------------------------------------------------------------------------------------------------

RATES = Info("rates", (168, 8), 8, kind="table")


def test_lstnet_has_the_published_sizes():
    """Convolution 6 x 8 to 50, GRU 50 to 50, one of 50 to 5 in strides of 24, and a highway of 24; without a head."""
    net: Any = build("lstnet", RATES).eval()
    conv, gru = 50 * (6 * 8 + 1), lambda inputs, hidden: 3 * hidden * (inputs + hidden + 2)
    assert parameters(net.stages) == conv + gru(50, 50) + gru(50, 5) + 24 + 1
    assert net.features(inputs(RATES)).shape == (4, 50 + 24 * 5 + 8)
    assert net.levels == (0, 1, 2)


def test_lstnets_highway_by_hand():
    """Its outputs are what the recurrent part says and 0.5 of the last value, -2 of the one before, and 1, added."""
    net: Any = build("lstnet:window=3", RATES).eval()
    x = inputs(RATES)
    linear = net.stages[1].highway.linear
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.0, -2.0, 0.5]]))
        linear.bias.fill_(1.0)
    expected = 0.5 * x[:, -1] - 2 * x[:, -2] + 1
    torch.testing.assert_close(net.features(x)[:, -8:], expected)
    rest = net.features(x)[:, :-8] @ net.head.weight[:, :-8].T + net.head.bias
    torch.testing.assert_close(net(x), rest + expected)


def test_lstnets_second_layer_looks_back_in_strides():
    """By a loop over the places within a stride: a GRU over every 24th step of the convolution that ends the window."""
    net: Any = build("lstnet", RATES).eval()
    x = inputs(RATES)
    seen = net.stages[0].conv(x.transpose(1, 2))
    assert seen.shape == (4, 50, 163)
    last = seen[:, :, -6 * 24 :]
    expected = [net.stages[1].skip_gru(last[:, :, place::24].transpose(1, 2))[1][0] for place in range(24)]
    torch.testing.assert_close(net.features(x)[:, 50:-8], torch.cat(expected, 1))
    torch.testing.assert_close(net.features(x)[:, :50], net.stages[1].gru(seen.transpose(1, 2))[0][:, -1])


def test_lstnets_first_level_mixes_the_highways_inputs_too():
    net: Any = build("lstnet", RATES).eval()
    one, other = inputs(RATES)[:2], inputs(RATES)[2:]
    mixed = net.stages[1](0.5 * net.stages[0](one) + 0.5 * net.stages[0](other))
    highway = net.stages[1].highway
    torch.testing.assert_close(mixed[:, -8:], highway(0.5 * one + 0.5 * other))


def test_highway_starts_by_repeating_the_last_value():
    x = inputs(RATES)
    assert torch.equal(build("highway", RATES)(x), x[:, -1])
    assert build("highway:window=500", RATES).stages[0].window == 168
    assert build("highway", RATES, 3)(x).shape == (4, 3)


@pytest.mark.parametrize("name", ["lstnet", "highway"])
def test_nets_for_series_refuse_rows_and_short_windows(name):
    with pytest.raises(UserError, match=rf"net '{name}' needs windows of series .*, but people has .*; use net 'mlp'"):
        build(name, TABLE)
    if name == "lstnet":
        with pytest.raises(UserError, match=r"needs windows of at least 29 steps, but rates has 28; use net 'mlp'"):
            build(name, Info("rates", (28, 2), 2))
        assert build(name, Info("rates", (29, 2), 2))(torch.zeros(1, 29, 2)).shape == (1, 2)


def test_mlp_bends_as_it_is_told():
    x = torch.tensor([[-1.0, 0, 0, 0, 0, 0, 2.0]])
    for spec, below in (("mlp:hidden=7", 0.0), ("mlp:hidden=7,activation=leaky", -0.1)):
        net: Any = build(spec, TABLE)
        with torch.no_grad():
            net.stages[1][0].weight.copy_(torch.eye(7))
            net.stages[1][0].bias.zero_()
        torch.testing.assert_close(net.features(x), torch.tensor([[below, 0, 0, 0, 0, 0, 2.0]]))


# --- images that are stored as small as a net looks at them -----------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "side"), [("conv:side=8,width=4", 7), ("tiny:side=5,width=4", 4), ("conv:width=4", 21)]
)
def test_small_images_give_the_same_bits(spec: str, side: int):
    data = Dataset.of(torch.randint(0, 256, (30, 3, 21, 23), dtype=torch.uint8, generator=generator(0)), [0, 1] * 15)
    net = nets.build(spec, data.info).eval()
    small = shrunk(data.take(torch.arange(30) % 3 > 0), net)
    assert min(small.x.shape[2:]) == side and len(small) == 20
    rows = torch.tensor([3, 0, 17])
    with torch.no_grad():
        assert torch.equal(net(small.gather(rows)), net(data.take(torch.arange(30) % 3 > 0).gather(rows)))


def test_images_stay_where_a_net_looks_closer_or_there_are_too_many(monkeypatch: pytest.MonkeyPatch):
    data = Dataset.of(torch.rand(4, 3, 20, 20), [0, 1] * 2)
    near, far = (nets.build(f"conv:side={side},width=2", data.info) for side in (20, 5))
    assert shrunk(data, nn.ModuleList([near, far])) is data
    wide = nets.build("conv:side=10,width=2", data.info)
    assert shrunk(data, nn.ModuleList([wide, far])).x.shape == (4, 3, 10, 10)
    assert shrunk(data, nn.Linear(1, 1)) is data
    monkeypatch.setattr("longcut.nets.shrunk.LARGEST", 100)
    assert shrunk(data, far) is data
