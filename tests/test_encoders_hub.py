"""Encoders by name and nets of images: tiny models, made here; nothing is downloaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longcut import nets
from longcut.data import Dataset, Info, Splits, generator
from longcut.encoders import Encoder, build
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import build as build_method
from longcut.nets.hugging import last_part
from longcut.nets.pictures import Picture, _picture
from longcut.spec import write
from longcut.training import Training

transformers = pytest.importorskip("transformers")

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TOWERS: dict[str, dict[str, Any]] = {
    "Dinov2": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    "ConvNext": {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "layer_scale_init_value": 0.5},
    "SiglipVision": {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
}
PREPARED = {"size": {"height": 28, "width": 28}, "image_mean": MEAN, "image_std": DEVIATION}
BERT = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "bird", "lake", "by", "a", "##s"]
PHOTOS = Info("photos", (3, 40, 40), 2, kind="image")


@pytest.fixture(autouse=True, scope="module")
def no_bars() -> Iterator[None]:
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()


def saved(path: Path, kind: str, told: dict[str, Any] | None = PREPARED, **changes: Any) -> Path:
    """A model folder as the hub has it."""
    config = getattr(transformers, f"{kind}Config")(**{**(BERT if kind == "Bert" else TOWERS[kind]), **changes})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():  # what begins as zero or one shall count, too
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    if kind == "Bert":
        (path / "vocab.txt").write_text("\n".join(WORDS))
        (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    elif told is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(told))
    return path


def hf(path: Path) -> Encoder:
    return build(write("hf", {"name": path}))


def bytes_of(n: int, side: int = 28) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator(0))


# --- encoders of images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TOWERS)
def test_an_image_tower_is_the_models_pooled_output(kind, tmp_path):
    encoder, x = hf(saved(tmp_path, kind)), bytes_of(9)
    assert (encoder.takes, encoder.width, encoder.resize, encoder.crop) == ("image", 8, 28, 28)
    assert encoder.name == write("hf", {"name": tmp_path})
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    pixels = (x.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    expected = model(pixel_values=pixels).pooler_output.detach()
    torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoder(x[8:]), expected[8:], atol=1e-4, rtol=1e-4)
    assert hf(tmp_path).version == encoder.version


def test_the_images_half_of_a_siglip(tmp_path):
    vision = {**TOWERS["SiglipVision"]}
    text = {**BERT, "projection_size": 8, "max_position_embeddings": 12}
    model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=text)).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PREPARED, "image_mean": [0.5] * 3}))
    x = bytes_of(2)
    pixels = (x.float() / 255 - 0.5) / torch.tensor(DEVIATION).view(3, 1, 1)
    expected = model.vision_model(pixel_values=pixels).pooler_output.detach()
    torch.testing.assert_close(hf(tmp_path)(x), expected, atol=1e-4, rtol=1e-4)


def test_a_pooler_that_the_file_lacks_is_not_used(tmp_path):
    """It would be drawn at random."""
    shape = {"intermediate_size": 16, "image_size": 28, "patch_size": 14}
    model = transformers.ViTModel(transformers.ViTConfig(**{**TOWERS["Dinov2"], **shape}), add_pooling_layer=False)
    model.eval().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PREPARED, "do_normalize": False}))
    expected = model(pixel_values=bytes_of(3).float() / 255).last_hidden_state[:, 0].detach()
    torch.testing.assert_close(hf(tmp_path)(bytes_of(3)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("told", "resize", "crop"),
    [
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            256,
            224,
        ),
        ({"size": {"height": 224, "width": 224}}, 224, 224),  # SigLIP, DINOv3
        ({"size": 224, "crop_pct": 0.875}, 256, 224),  # ConvNeXt
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, 384, 384),  # ConvNeXt: squeezed from here on
        ({"size": 64, "do_center_crop": True, "crop_size": 96}, 96, 96),
    ],
)
def test_how_a_model_wants_its_images(told, resize, crop):
    found = _picture({**told, "image_mean": MEAN, "image_std": DEVIATION})
    assert found == Picture(resize, crop, tuple(MEAN), tuple(DEVIATION))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (None, "Can't load image processor"),
        ({"image_mean": MEAN, "image_std": DEVIATION}, "it lacks 'size'"),
        ({"size": 28, "image_mean": MEAN}, "it lacks 'image_std'"),
        ({**PREPARED, "image_mean": [0.5]}, "1 channels are not three"),
        ({**PREPARED, "rescale_factor": 1.0}, "a rescale_factor of 1.0 is not 1 / 255"),
    ],
)
def test_a_model_that_does_not_say_how(told, why, tmp_path):
    message = rf"encoder 'hf': .* does not say how its images are prepared \(.*{why}.*\); give a model with a prep"
    with pytest.raises(UserError, match=message):
        hf(saved(tmp_path, "Dinov2", told))


def test_a_size_that_the_model_does_not_take(tmp_path):
    with pytest.raises(UserError, match=r"gives no features of images of 13 pixels, which its preprocessor_config"):
        hf(saved(tmp_path, "Dinov2", {**PREPARED, "size": 13}))


# --- encoders of texts ------------------------------------------------------------------------------------------------


def test_a_text_encoder_is_the_mean_of_its_tokens(tmp_path):
    encoder = hf(saved(tmp_path, "Bert"))
    assert (encoder.takes, encoder.width, encoder.crop) == ("text", 8, 0)
    model = transformers.BertModel.from_pretrained(tmp_path).eval()
    texts, ids = ["the birds by a lake", "", "lake " * 40], [[2, 5, 6, 10, 8, 9, 7, 3], [2, 3], [2, *[7] * 10, 3]]
    for feature, row in zip(encoder(texts), ids, strict=True):
        expected = model(input_ids=torch.tensor([row])).last_hidden_state[0].detach().mean(0)
        torch.testing.assert_close(feature, expected, atol=1e-4, rtol=1e-4)


def test_a_model_without_a_tokenizer(tmp_path):
    path = saved(tmp_path, "Bert")
    for name in ("vocab.txt", "tokenizer_config.json"):
        (path / name).unlink()
    with pytest.raises(
        UserError, match=r"encoder 'hf': .* has no tokenizer to be loaded \(it knows no words\); give a"
    ):
        hf(path)


# --- loading ----------------------------------------------------------------------------------------------------------


def test_weights_cut_short_or_of_another_model(tmp_path):
    path = saved(tmp_path, "Dinov2")
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"encoder 'hf': .* cannot be loaded \("):
        hf(path)
    saved(tmp_path / "other", "ConvNext")
    (path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"cannot be loaded \(its file lacks "):
        hf(path)


def test_no_such_folder_and_no_package(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"encoder 'hf': .*empty cannot be loaded \(.*\); give a model's name where the"
    ):
        hf(tmp_path / "empty")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r'encoder \'hf\' needs a further package; pip install "longcut\[hub\]"'):
        hf(tmp_path)


# --- nets of images ---------------------------------------------------------------------------------------------------


def net(path: Path, **options: Any) -> nets.Net:
    return nets.build(write("hf", {"name": path, **options}), PHOTOS)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_net_brings_images_to_the_size_and_sees_what_the_encoder_sees(kind, tmp_path):
    path, x = saved(tmp_path, kind), bytes_of(3)
    made = nets.build(write("hf", {"name": path}), Info("photos", (3, 28, 28), 2, kind="image")).eval()
    torch.testing.assert_close(made.features(x / 255), hf(path)(x), atol=1e-4, rtol=1e-4)
    assert made.levels == (0, 1)
    assert net(path).eval()(torch.rand(2, 3, 40, 40)).shape == (2, 2)


@pytest.mark.parametrize(("how", "trained"), [("frozen", None), ("last", "last"), ("all", "all")])
def test_what_of_a_tower_is_trained(how, trained, tmp_path):
    path = saved(tmp_path, "ConvNext")
    x, label = torch.rand(8, 3, 40, 40, generator=generator(0)), torch.arange(8) % 2
    data = Dataset.of(x, label, name="photos")
    method = build_method("erm", data.info, net=write("hf", {"name": path, "tune": how, "lr_scale": 0.5}))
    before = {key: value.clone() for key, value in method.net.named_parameters()}
    fit(method, Splits(data, None, data), Training(epochs=1, batch=4, lr=0.01))
    found = {key for key, value in method.net.named_parameters() if not torch.equal(value, before[key])}
    tower = method.net.stages[0][1]  # type: ignore[index]
    last = {id(parameter) for parameter in last_part(tower.model)}
    expected = {
        key
        for key, value in method.net.named_parameters()
        if key.startswith("head") or trained == "all" or (trained == "last" and id(value) in last)
    }
    assert found == expected
    assert how != "last" or 2 < len(found) < len(before)


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        ("Dinov2", "layer.1."),
        ("ConvNext", "encoder.stages.1."),
        ("SiglipVision", "encoder.layers.1."),
        ("Bert", "encoder.layer.1."),
    ],
)
def test_the_last_part_begins_with_the_last_block(kind, begins, tmp_path):
    model = transformers.AutoModel.from_pretrained(saved(tmp_path, kind))
    last = {id(parameter) for parameter in last_part(model)}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in last]
    assert begins in names[0]
    assert list(model.named_parameters())[-1][0] == names[-1]
    assert 0 < len(names) < len(list(model.parameters()))


def test_a_frozen_text_encoder_has_no_dropout_and_no_random_pooler(tmp_path):
    path = saved(tmp_path / "bert", "Bert")
    model = transformers.BertModel.from_pretrained(path, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path / "plain")
    info = Info("reviews", (5,), 2, kind="tokens", vocabulary=11)
    x = torch.tensor([[2, 5, 6, 3, 0]])
    spec = write("hf", {"name": tmp_path / "plain", "tune": "frozen", "dropout": 0, "separator": 3})
    made = nets.build(spec, info).train()
    expected = model(input_ids=x[:, :4]).last_hidden_state[:, 0]
    torch.testing.assert_close(made.features(x), expected.detach(), atol=1e-4, rtol=1e-4)


def test_a_net_of_texts_refuses_images_and_the_reverse(tmp_path):
    with pytest.raises(
        UserError, match=r"net 'hf': .* takes no images; give a model that does, such as facebook/dinov2"
    ):
        net(saved(tmp_path / "bert", "Bert"))
    with pytest.raises(UserError, match=r"needs images of one channel or three, but odd has 4; use net 'conv'"):
        nets.build(write("hf", {"name": tmp_path}), Info("odd", (4, 8, 8), 2, kind="image"))


# --- timm -------------------------------------------------------------------------------------------------------------


def fake_timm(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> nn.Module:
    """A module that has what is used of timm."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 5, 2), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def create_model(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert pretrained and num_classes == 0
        if name != "small":
            raise RuntimeError(f"Unknown model ({name})")
        return model.train()

    told = {"input_size": (3, 7, 7), "mean": MEAN, "std": DEVIATION, "crop_pct": 0.875, **changes}
    package, data = ModuleType("timm"), SimpleNamespace(resolve_model_data_config=lambda model: told)
    package.__dict__.update(create_model=create_model, __version__="1.0")
    monkeypatch.setitem(sys.modules, "timm", package)
    monkeypatch.setitem(sys.modules, "timm.data", data)  # type: ignore[arg-type]
    return model


def test_a_model_of_timm(monkeypatch):
    model = fake_timm(monkeypatch)
    encoder, x = build("timm:name=small"), bytes_of(3, 7)
    assert (encoder.name, encoder.takes, encoder.width) == ("timm:name=small", "image", 5)
    assert (encoder.resize, encoder.crop) == (8, 7)
    pixels = (x.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    torch.testing.assert_close(encoder(x), model.eval()(pixels).detach())


def test_a_name_that_timm_does_not_have(monkeypatch):
    fake_timm(monkeypatch)
    with pytest.raises(UserError, match=r"encoder 'timm': large cannot be loaded \(Unknown model \(large\)\); give a"):
        build("timm:name=large")


def test_timm_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm, which cannot be imported \(.*\); pip install timm, or take enc"):
        build("timm:name=small")
