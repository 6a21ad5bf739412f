"""What a run folder keeps for its report."""

from __future__ import annotations

import pytest
import torch

from longcut.analyses import activation_maps, negatives
from longcut.data import Dataset
from longcut.gallery import gallery
from longcut.methods.erm import ERM
from longcut.nets import build


def images(attribute: bool = True, channels: int = 3, classes: int = 4, n: int = 200) -> Dataset:
    x = (torch.arange(n * channels * 4) % 251).to(torch.uint8).view(n, channels, 2, 2)
    label = torch.arange(n) % classes
    color = torch.where(torch.arange(n) // classes % 10 == 0, (label + 1) % classes, label)
    return Dataset.of(x, label, color if attribute else None, aligned=tuple(range(classes)) if attribute else ())


class Shown(ERM):
    """Mixes sample 0 with 1 (keeping a quarter) and 2 with 3; its bias model sees the mean of the image."""

    def pairs(self, train, n):
        return {
            "anchor": torch.tensor([0, 2]),
            "partner": torch.tensor([1, 3]),
            "share": torch.tensor([0.25, 1.0]),
        }

    def embedding(self, x):
        return x.flatten(1).mean(1, keepdim=True)


def shown(data: Dataset, cls: type[ERM] = Shown) -> dict[str, torch.Tensor]:
    return gallery(cls(lambda: build("mlp:hidden=4", data.info), data.info), data)


def test_the_gallery_shows_some_of_every_class():
    data = images()
    found = shown(data)
    assert found["sample_x"].dtype == torch.uint8
    assert found["sample_x"].shape == (40, 3, 2, 2)
    assert found["sample_conflicting"].sum() == 20
    assert torch.equal(found["sample_conflicting"], found["sample_label"] != found["sample_attribute"])
    assert found["sample_label"].bincount().tolist() == [10] * 4
    stored = {tuple(x.flatten().tolist()): y for x, y in zip(data.x, data.label.tolist(), strict=True)}
    assert [stored[tuple(x.flatten().tolist())] for x in found["sample_x"]] == found["sample_label"].tolist()
    assert torch.equal(shown(data)["sample_x"], found["sample_x"]), "nothing is left to chance"


def test_the_gallery_shows_pairs():
    data = images()
    found = shown(data)
    a, b = data.x[0].float(), data.x[1].float()
    assert torch.equal(found["pair_mixed_x"][0], (0.25 * a + 0.75 * b).round().to(torch.uint8))
    assert torch.equal(found["pair_mixed_x"][1], data.x[2])
    assert torch.equal(found["pair_anchor_x"], data.x[[0, 2]])
    assert torch.equal(found["pair_partner_x"], data.x[[1, 3]])
    assert found["pair_share"].tolist() == [0.25, 1.0]
    for who, rows in (("anchor", [0, 2]), ("partner", [1, 3])):
        assert torch.equal(found[f"pair_{who}_label"], data.label[rows])
        assert data.attribute is not None
        assert torch.equal(found[f"pair_{who}_attribute"], data.attribute[rows])


@pytest.mark.parametrize(("n", "rows", "conflicting"), [(200, 200, 20), (5000, 600, 200)])
def test_the_gallery_embeds_more_of_the_conflicting(n: int, rows: int, conflicting: int):
    found = shown(images(n=n))
    assert found["embedding"].shape == (rows, 1)
    assert int(found["embedding_conflicting"].sum()) == conflicting
    assert torch.equal(found["embedding_conflicting"], found["embedding_label"] != found["embedding_attribute"])


def test_the_gallery_without_attribute_or_pairs_or_images():
    bare = shown(images(attribute=False, channels=1), ERM)
    seen = {"embedding_label", "embedding_conflicting", "features"}
    assert bare.keys() == {"sample_x", "sample_label", "sample_conflicting"} | seen
    assert bare["sample_x"].shape == (20, 3, 2, 2), "grey images are shown in three equal channels"
    assert not bare["sample_conflicting"].any()
    table = Dataset.of(torch.randn(30, 5), torch.arange(30) % 3)
    assert shown(table, ERM).keys() == seen, "a table has no pictures, and this method no bias model"
    found = shown(table).keys()
    assert {"embedding", "embedding_label", "embedding_conflicting", "features"} < found
    assert {name for name in found if "negative" in name} == {
        f"negative_{name}" for name in ("anchor", "row", "weight", "debiased", "biased")
    }, "a table has no pictures"
    regression = Dataset.of(torch.rand(30, 3, 2, 2), torch.rand(30))
    assert shown(regression)["sample_x"].dtype == torch.uint8


def test_the_gallery_shows_the_negatives_of_some_anchors():
    data = images()
    found = shown(data)
    n, anchors, k = len(found["embedding"]), 4, 5
    assert found["features"].shape == (n, 4)
    anchor, row = found["negative_anchor"], found["negative_row"]
    assert row.shape == (anchors, 2, k)
    assert found["embedding_conflicting"][anchor].tolist() == [False, False, True, True], "anchors of both kinds"
    assert len(found["embedding_label"][anchor[:2]].unique()) == 2, "of different classes"
    expected = negatives(found["features"], found["embedding"], anchor, k)
    assert torch.equal(row, expected.row)
    assert torch.equal(found["negative_weight"], expected.weight)
    assert data.attribute is not None
    stored = {tuple(x.flatten().tolist()): (y, a) for x, y, a in zip(data.x, data.label, data.attribute, strict=True)}
    shown_rows = torch.cat([anchor[:, None], row.flatten(1)], 1).flatten()
    assert len(found["negative_x"]) == anchors * (1 + 2 * k)
    for picture, i in zip(found["negative_x"], shown_rows.tolist(), strict=True):
        said = (found["embedding_label"][i], found["embedding_attribute"][i])
        assert stored[tuple(picture.flatten().tolist())] == said, "each picture is that of its row"


@pytest.mark.parametrize("n", [2, 3])
def test_the_gallery_of_very_few_samples_shows_fewer_negatives(n: int):
    class Seen(ERM):
        def embedding(self, x):
            return x

    assert shown(Dataset.of(torch.randn(n, 5), torch.zeros(n)), Seen)["negative_row"].shape == (n, 2, n - 1)
    assert "negative_row" not in shown(Dataset.of(torch.randn(1, 5), torch.zeros(1)), Seen)


def test_no_negatives_of_an_embedding_that_is_not_finite():
    class Broken(Shown):
        def embedding(self, x):
            return super().embedding(x) / 0

    assert not any("negative" in name for name in shown(images(), Broken))


def test_a_regression_has_negatives_too():
    found = shown(Dataset.of(torch.rand(30, 3, 2, 2), torch.rand(30)))
    assert found["negative_row"].shape == (4, 2, 5)


def test_the_gallery_shows_what_every_net_makes_of_the_samples():
    data = images(n=5000)
    method = ERM(lambda: build("mlp:hidden=4", data.info), data.info)
    found = gallery(method, data)
    assert found["features"].shape == (600, 4)
    assert int(found["embedding_conflicting"].sum()) == 200
    assert data.attribute is not None
    x = data.batch(torch.arange(len(data))).x
    expected = {
        (y, a, *row): None
        for row, y, a in zip(method.net.features(x).tolist(), data.label.tolist(), data.attribute.tolist(), strict=True)
    }
    columns = (found[name].tolist() for name in ("embedding_label", "embedding_attribute", "features"))
    assert all((y, a, *row) in expected for y, a, row in zip(*columns, strict=True)), "each with its own columns"


def test_the_gallery_shows_where_a_net_looks():
    data = Dataset.of(torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8), torch.arange(40) % 4, kind="image")
    method = ERM(lambda: build("conv:width=2", data.info), data.info)
    found = gallery(method.eval(), data)
    places = {tuple(x.flatten().tolist()): i for i, x in enumerate(data.x)}
    rows = torch.tensor([places[tuple(x.flatten().tolist())] for x in found["sample_x"]])
    batch = data.batch(rows)
    expected = activation_maps(method.net, data.info, batch.x, batch.label)
    torch.testing.assert_close(found["sample_map"], expected)
    assert "sample_map" not in shown(data), "a net without places"
    numbers = Dataset.of(data.x, torch.rand(40), kind="image")
    assert "sample_map" not in gallery(ERM(lambda: build("conv:width=2", numbers.info), numbers.info), numbers)
