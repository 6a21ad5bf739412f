"""Encoders and tokenizers of Hugging Face: tiny ones, made here; nothing is downloaded."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import entry_of
from torch import Tensor

from longcut import runs
from longcut.data import Dataset, Info, Splits, as_input, generator
from longcut.datasets import DATASETS
from longcut.deploy import export, load_net
from longcut.errors import UserError
from longcut.execute import execute
from longcut.fit import fit
from longcut.methods import build as build_method
from longcut.nets import Net, build
from longcut.plans import plan
from longcut.sources.text import tokenize
from longcut.training import Training

transformers = pytest.importorskip("transformers")

TEXT = Info("reviews", (12,), 2, kind="tokens", vocabulary=50)
BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
}
DISTILBERT = {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 20}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "bird", "lake", "by", "a", "##s"]


@pytest.fixture(autouse=True, scope="module")
def no_bars() -> Iterator[None]:
    """Of what the tests save; the library's own silence is tested below."""
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()


def folder(path: Path, kind: str = "Bert", *, weights: bool = True, **changes: Any) -> Path:
    """A model folder as the hub has it."""
    config = getattr(transformers, f"{kind}Config")(**{**(BERT if kind == "Bert" else DISTILBERT), **changes})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():  # what begins as zero or one shall count, too
            torch.nn.init.normal_(parameter, std=0.3)
    config.save_pretrained(path)
    if weights:
        model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("distilbert"), "DistilBert")


# [CLS] a b [SEP] alone, and with a second text behind it; 2 and 3 are [CLS] and [SEP]
ROWS = [[2, 5, 6, 3], [2, 7, 3, 8, 9, 10, 3], [2, 5, 3, 3], [2, *range(5, 15), 3]]


def padded(rows: list[list[int]], length: int = 12) -> Tensor:
    return torch.stack([torch.tensor(row + [0] * (length - len(row))) for row in rows])


def hf(where: Path, info: Info = TEXT, **options: Any) -> Net:
    given = ",".join(f"{key}={value}" for key, value in {"name": where, "separator": 3, **options}.items())
    return build(f"hf:{given}", info)


# --- what it computes -------------------------------------------------------------------------------------------------


def test_bert_is_its_pooled_first_token_without_padding_and_in_two_segments(bert):
    net, model = hf(bert).eval(), transformers.BertModel.from_pretrained(bert).eval()
    found = net.features(padded(ROWS))
    for row, feature in zip(ROWS, found, strict=True):
        end = row.index(3) + 1  # the first separator belongs to the first segment
        segments = torch.tensor([[0] * end + [1] * (len(row) - end)])
        expected = model(input_ids=torch.tensor([row]), token_type_ids=segments).pooler_output[0]
        torch.testing.assert_close(feature, expected, atol=1e-4, rtol=1e-4)
    assert net.width == 16 and net.levels == (1,)


def test_segments_count(bert):
    """With another separator the same ids are one segment."""
    x = padded(ROWS)
    assert not torch.allclose(hf(bert).eval().features(x)[1], hf(bert, separator=40).eval().features(x)[1], atol=1e-3)
    torch.testing.assert_close(hf(bert).eval().features(x)[0], hf(bert, separator=40).eval().features(x)[0])


def test_distilbert_is_its_first_token(distilbert):
    net, model = hf(distilbert).eval(), transformers.DistilBertModel.from_pretrained(distilbert).eval()
    found = net.features(padded(ROWS))
    for row, feature in zip(ROWS, found, strict=True):
        expected = model(input_ids=torch.tensor([row])).last_hidden_state[0, 0]
        torch.testing.assert_close(feature, expected, atol=1e-4, rtol=1e-4)


def test_a_bert_with_one_segment_takes_pairs_as_one(tmp_path):
    net = hf(folder(tmp_path, type_vocab_size=1)).eval()
    model = transformers.BertModel.from_pretrained(tmp_path).eval()
    expected = model(input_ids=torch.tensor([ROWS[1]])).pooler_output
    torch.testing.assert_close(net.features(padded([ROWS[1]])), expected, atol=1e-4, rtol=1e-4)


def test_a_text_of_nothing_is_a_number(bert, distilbert):
    for where in (bert, distilbert):
        assert torch.isfinite(hf(where).eval()(torch.zeros(2, 12, dtype=torch.long))).all()


def test_dropout_is_for_training(bert):
    net, x = hf(bert, dropout=0.5), padded(ROWS)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_random_weights_are_drawn_by_the_caller(bert):
    def drawn(seed: int) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return hf(bert, weights="none").stages.state_dict()["0.model.pooler.dense.weight"]

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_it_learns_and_is_mixed_at_the_pooled_features(bert):
    x = torch.randint(4, 50, (24, 12), generator=generator(0))
    data = Dataset.of(x, torch.arange(24) % 2, kind="tokens", name="words")
    for name in ("erm", "mixup"):
        method = build_method(name, data.info, net=f"hf:name={bert}")
        torch.testing.assert_close(method.eval().mixable(x), method.net.features(x))
        training = Training(
            epochs=2, batch=8, optimizer="adamw", weight_decay=0.1, clip=1.0, schedule="linear", average=0.5
        )
        before = {key: value.clone() for key, value in method.net.state_dict().items()}
        after = fit(method, Splits(data, None, data), training).method.net.state_dict()
        moved = [key for key, value in after.items() if not torch.equal(value, before[key])]
        assert {key for key in after if "position_ids" not in key} == set(moved)


def test_adamw_spares_the_biases_and_norms_of_bert(bert):
    """By name, as the papers' code does it: ``bias`` and ``LayerNorm.weight``."""
    method = build_method("erm", TEXT, net=f"hf:name={bert}")
    (optimizer,) = method.optimizers(Training(optimizer="adamw", weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in method.named_parameters():
        spared = name.endswith("bias") or "LayerNorm" in name
        assert (id(parameter) in decayed) == (not spared), name


# --- loading ----------------------------------------------------------------------------------------------------------


def test_loading_is_quiet_and_leaves_the_settings_of_transformers(bert, capfd, caplog):
    transformers.logging.enable_progress_bar()
    level = transformers.logging.get_verbosity()
    hf(bert)
    assert transformers.logging.get_verbosity() == level
    assert transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_model_without_a_pooler_gets_one(tmp_path, bert):
    """Some files of BERT hold none."""
    model = transformers.BertModel.from_pretrained(bert, add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    assert hf(tmp_path).eval()(padded(ROWS)).shape == (4, 2)


def test_weights_of_half_precision_are_trained_in_full(tmp_path, bert):
    transformers.BertModel.from_pretrained(bert, dtype=torch.float16).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in hf(tmp_path).parameters()} == {torch.float32}


def test_a_file_that_lacks_weights(tmp_path, bert):
    from safetensors.torch import load_file, save_file

    state = load_file(bert / "model.safetensors")
    folder(tmp_path, weights=False)
    kept = {name: value for name, value in state.items() if "layer.1.attention.self.query" not in name}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"cannot be loaded \(its file lacks encoder.layer.1.attention.self.query.bias"):
        hf(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
    model = transformers.AutoModel.from_config(transformers.BertConfig(**BERT))
    torch.save(model.state_dict(), folder(tmp_path, weights=False) / "pytorch_model.bin")
    message = (
        r"net 'hf': .* cannot be loaded \(.*model.safetensors.*\); give a model's name where the hub can be reached"
    )
    with pytest.raises(UserError, match=message):
        hf(tmp_path)
    assert hf(tmp_path, weights="none").width == 16  # the layout alone is there


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    classes = {"AutoConfig": "code.Config", "AutoModel": "code.Model", "AutoTokenizer": ["code.Tokenizer", None]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": classes}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": classes}))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    for weights in ("pretrained", "none"):
        with pytest.raises(UserError, match="cannot be loaded"):
            hf(tmp_path, weights=weights)
    with pytest.raises(UserError, match="there is no tokenizer to be loaded"):
        tokenize(["a bird"], str(tmp_path), 8)
    assert not (tmp_path / "ran").exists()


def test_the_cache_is_asked_before_the_network(monkeypatch):
    asked = []

    def nothing(name, **how):
        asked.append(how.get("local_files_only", False))
        raise OSError("no such name\nin reach")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", nothing)
    with pytest.raises(
        UserError, match=r"net 'hf': some/model cannot be loaded \(no such name in reach\); give a model's"
    ):
        build("hf:name=some/model", TEXT)
    assert asked == [True, False]


def test_the_package_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r'net \'hf\' needs a further package; pip install "longcut\[hub\]"'):
        build("hf", TEXT)
    with pytest.raises(UserError, match=r'pip install "longcut\[hub\]"'):
        tokenize(["a bird"], "bert-base-uncased", 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "random"}, "net 'hf': weights=random is not allowed; give pretrained or none"),
        ({"dropout": 1}, "net 'hf': dropout=1 is not allowed; give a number at least 0 and below 1"),
    ],
)
def test_options_it_refuses(bert, options, message):
    with pytest.raises(UserError, match=message):
        hf(bert, **options)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (
            Info("people", (7,), 3, kind="table"),
            "net 'hf' needs token ids, but people is of kind 'table'; use net 'mlp'",
        ),
        (
            Info("reviews", (12,), 2, kind="tokens", vocabulary=51),
            "reviews has 51 token ids, but .* knows 50; make them",
        ),
        (Info("reviews", (21,), 2, kind="tokens", vocabulary=9), "texts of reviews have 21 tokens, but .* takes 20"),
    ],
)
def test_data_it_refuses(bert, info, message):
    with pytest.raises(UserError, match=message):
        hf(bert, info)


def test_padding_of_another_id(tmp_path):
    with pytest.raises(UserError, match="pads with id 1, but here 0 is padding; take one like BERT"):
        hf(folder(tmp_path, pad_token_id=1))


# --- a run, deployed --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runs.Run]:
    """Trained from a model folder whose weights are then gone."""

    def words(*, seed: int = 0) -> Splits:
        x = torch.randint(2, 50, (36, 12), generator=generator(seed))
        x[::2, 7:] = 0
        data = Dataset.of(x, (x[:, 1] > 25).long(), kind="tokens", name="words")
        turn = torch.arange(36) % 3
        return Splits(data.take(turn == 0), data.take(turn == 1), data.take(turn == 2))

    where = folder(tmp_path_factory.mktemp("base"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS.own, "words", entry_of(function=words, training={"batch": 6}, options={}))
        out = tmp_path_factory.mktemp("run") / "run"
        execute(plan("words", "erm", settings={"net": f"hf:name={where},separator=3", "epochs": 1}), out)
        (where / "model.safetensors").unlink()
        yield runs.read(out)


def test_a_run_needs_the_layout_of_its_encoder_and_no_pretrained_weights(run):
    net, _ = load_net(run)
    test = DATASETS["words"].function(seed=0).test
    with torch.no_grad():
        torch.testing.assert_close(net(test.x[test.index]), run.predictions()["outputs"])


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torchscript", "onnx"])
def test_an_encoder_is_exported_quietly(run, tmp_path, to, capfd):
    import warnings

    log = logging.getLogger("transformers")
    level = log.level
    path = export(run, to, tmp_path / "model")
    assert capfd.readouterr() == ("", "")
    assert log.level == level
    test = DATASETS["words"].function(seed=0).test
    x = test.x[test.index][:5]
    if to == "onnx":
        import onnxruntime

        found = torch.from_numpy(onnxruntime.InferenceSession(path).run(["outputs"], {"x": x.numpy()})[0])
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            found = torch.jit.load(path)(x).detach()
    net, _ = load_net(run)
    torch.testing.assert_close(found, net(as_input(x)).detach(), atol=1e-4, rtol=1e-4)


# --- tokenizers -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokenizer")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}))
    (path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return str(path)


def test_texts_become_the_ids_of_a_tokenizer(tokenizer):
    x, vocabulary = tokenize(["The birds by a lake", "Lake moon"], tokenizer, 9)
    assert x.tolist() == [[2, 5, 6, 10, 8, 9, 7, 3, 0], [2, 7, 1, 3, 0, 0, 0, 0, 0]]
    assert vocabulary == len(WORDS)


def test_pairs_are_joined_by_the_separator_and_the_longer_is_cut(tokenizer):
    x, _ = tokenize(["a bird", "the bird by the lake"], tokenizer, 8, ["the lake", "a lake"])
    assert x.tolist() == [[2, 9, 6, 3, 5, 7, 3, 0], [2, 5, 6, 8, 3, 9, 7, 3]]


def test_a_pair_is_read_in_two_segments(tokenizer, bert):
    """From text to features, against the tokenizer's own segments."""
    first, second = ["a bird", "the lake"], ["the birds by a lake", "a bird"]
    x, vocabulary = tokenize(first, tokenizer, 12, second)
    net = hf(bert, Info("pairs", (12,), 2, kind="tokens", vocabulary=vocabulary)).eval()
    given = transformers.AutoTokenizer.from_pretrained(tokenizer)(first, second, padding=True, return_tensors="pt")
    model = transformers.BertModel.from_pretrained(bert).eval()
    expected = model(**given).pooler_output
    torch.testing.assert_close(net.features(torch.from_numpy(x)), expected, atol=1e-4, rtol=1e-4)


def test_a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer to be loaded .*; give its name on the hub, or a folder"):
        tokenize(["a bird"], str(tmp_path), 8)


def test_a_tokenizer_that_pads_with_another_id(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[UNK]", "[PAD]", *WORDS[2:]]))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="pads with id 1, and here padding is 0"):
        tokenize(["a bird"], str(tmp_path), 8)
