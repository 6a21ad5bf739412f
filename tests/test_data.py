from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longcut.data import (
    Batch,
    Dataset,
    Info,
    Splits,
    as_input,
    balance,
    generator,
    in_turns,
    label_noise,
    pools,
    ranks,
    split,
    subsample,
    undersample,
    upweight,
    usual_attribute,
)
from longcut.errors import UserError
from longcut.sources import Columns, Source


def table(label: list[int], attribute: list[int] | None = None, **info) -> Dataset:
    """A data set whose row ``i`` holds the numbers ``2i`` and ``2i + 1``."""
    return Dataset.of(torch.arange(2.0 * len(label)).reshape(-1, 2), label, attribute, name="toy", **info)


def regression(n: int, attribute: list[int] | None = None) -> Dataset:
    return Dataset.of(torch.zeros(n, 1), [i / 2 for i in range(n)], attribute, name="toy")


def assert_rows_agree(data: Dataset, whole: Dataset) -> None:
    """Each sample of ``data`` still has the input, label and attribute that its identity had in ``whole``."""
    torch.testing.assert_close(data.gather(torch.arange(len(data))), whole.gather(data.index))
    assert torch.equal(data.label, whole.label[data.index])
    if data.attribute is not None and whole.attribute is not None:
        assert torch.equal(data.attribute, whole.attribute[data.index])


labels = st.lists(st.integers(0, 3), min_size=1, max_size=40).map(lambda ids: [sorted(set(ids)).index(i) for i in ids])
paired_labels = labels.map(lambda ids: ids * 2)  # at least two samples of each class
seeds = st.integers(-(2**63), 2**64)


# --- generator --------------------------------------------------------------------------------------------------------


def draws(*seed: int) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=generator(*seed)).tolist())


@given(seeds, seeds)
def test_generator_repeats_its_stream(a: int, b: int):
    assert draws(a, b) == draws(a, b)


def test_generator_streams_differ_in_every_number_place_and_length():
    seeds = [(a, b, c) for a in range(-3, 4) for b in range(7) for c in range(7)]
    seeds += [(), (0,), (1,), (0, 0), (1, 0), (0, 1), *((1 << bit,) for bit in range(1, 64))]
    assert len({draws(*seed) for seed in seeds}) == len(seeds)


def test_generator_streams_of_nearby_seeds_are_unrelated():
    streams = torch.stack(
        [torch.randn(4000, generator=generator(run, epoch)) for run in range(4) for epoch in range(4)]
    )
    off_diagonal = torch.corrcoef(streams) - torch.eye(16)
    assert off_diagonal.abs().max() < 5 / 4000**0.5  # five standard errors


def test_generator_takes_numpy_integers():
    assert draws(int(np.int64(3)), 5) == draws(np.int64(3), np.uint8(5))  # type: ignore[arg-type]


def test_nothing_touches_the_global_generator():
    data = table([0, 1] * 10, [0, 0, 1, 1] * 5)
    before = torch.get_rng_state()
    draw = generator(0)
    split(data, 0.5, draw)
    subsample(data, 3, draw)
    balance(data, "group", draw)
    label_noise(data, 0.5, draw)
    list(pools(data, 4, draw))
    assert torch.equal(torch.get_rng_state(), before)


# --- Info, Batch ------------------------------------------------------------------------------------------------------


def test_is_aligned_looks_up_the_usual_attribute_of_each_label():
    info = Info("toy", (2,), n_classes=3, n_attributes=3, aligned=(2, 0, 0))
    aligned = info.is_aligned(torch.tensor([0, 0, 1, 1, 2]), torch.tensor([2, 0, 0, 2, 1]))
    assert aligned.tolist() == [True, False, True, False, False]


def test_is_aligned_is_refused_when_the_usual_attribute_is_not_known():
    with pytest.raises(UserError, match=r"toy does not say which attribute .* pass aligned="):
        Info("toy", (2,), 2).is_aligned(torch.tensor([0]), torch.tensor([0]))


def batch_of(n: int) -> Batch:
    ids = torch.arange(n)
    return Batch(ids[:, None].float(), ids, ids + 10, ids + 20).with_extra(partner=ids + 30)


@pytest.mark.parametrize("rows", [torch.tensor([3, 0, 3]), torch.tensor([True, False, False, True]), slice(1, 3)])
def test_a_batch_is_indexed_by_rows_in_all_columns(rows: torch.Tensor | slice):
    batch, expected = batch_of(4)[rows], torch.arange(4)[rows]
    assert batch.x[:, 0].tolist() == expected.tolist()
    for column, offset in ((batch.label, 0), (batch.attribute, 10), (batch.index, 20), (batch.extra["partner"], 30)):
        assert column is not None
        assert column.tolist() == (expected + offset).tolist()
    assert len(batch) == len(expected)


def test_absent_columns_stay_absent():
    batch = Batch(torch.zeros(2, 1), torch.zeros(2).long())
    for other in (batch[:1], batch.to("cpu")):
        assert other.attribute is None
        assert other.index is None
        assert other.extra == {}


def test_with_extra_adds_to_what_is_there_and_leaves_the_batch_alone():
    batch = batch_of(2)
    more = batch.with_extra(weight=torch.ones(2))
    assert set(batch.extra) == {"partner"}
    assert set(more.extra) == {"partner", "weight"}


def test_a_batch_moves_with_all_its_columns():
    batch = batch_of(2).to("meta")
    columns = [batch.x, batch.label, batch.attribute, batch.index, batch.extra["partner"]]
    assert all(column is not None and column.device.type == "meta" for column in columns)


@pytest.mark.gpu
def test_a_batch_comes_back_from_the_device_complete():
    batch = Batch(torch.arange(50_000_000).float()[:, None], torch.arange(50_000_000))
    there = batch.to("cuda")
    back = Batch(there.x * 2, there.label * 2).to("cpu")
    assert torch.equal(back.label, batch.label * 2)
    assert torch.equal(back.x, batch.x * 2)


def test_a_batch_can_be_pickled():
    batch = pickle.loads(pickle.dumps(batch_of(3)))
    assert torch.equal(batch.extra["partner"], torch.tensor([30, 31, 32]))


def test_batch_and_dataset_gather_the_same_rows():
    data, rows = table([0, 1, 0]), torch.tensor([2, 0])
    expected = [[4.0, 5.0], [0.0, 1.0]]
    assert data.gather(rows).tolist() == expected
    assert data.batch(torch.arange(3)).gather(rows).tolist() == expected


# --- memberships ------------------------------------------------------------------------------------------------------

MEMBERS = [[True, False], [True, True], [False, False], [False, True]]


def test_memberships_are_carried_by_rows_and_named():
    data = table([0, 1, 0, 1], memberships=np.array(MEMBERS), membership_names=("male", "black"))
    assert data.info.membership_names == ("male", "black")
    assert table([0, 1], memberships=[[True], [False]]).info.membership_names == ("0",)
    for rows in (torch.tensor([3, 1, 1]), torch.tensor([False, True, False, True])):
        part = data.take(rows)
        assert part.memberships is not None
        assert torch.equal(part.memberships, torch.tensor(MEMBERS)[rows])
    assert table([0, 1]).take(torch.tensor([0])).memberships is None


def test_the_whole_of_splits_has_its_memberships_back_in_order():
    data = table([0, 1, 0, 1], memberships=MEMBERS)
    train, test = data.take(torch.tensor([3, 0])), data.take(torch.tensor([2, 1]))
    whole = Splits(train, None, test).whole
    assert whole.memberships is not None
    assert whole.memberships.tolist() == MEMBERS
    partly = Splits(dataclasses.replace(train, memberships=None), None, test).whole
    assert partly.memberships is None


def test_overlapping_groups_are_no_partition():
    with pytest.raises(UserError, match=r"overlapping groups, .* for evaluation alone, but a method needs a partition"):
        _ = table([0, 1, 0, 1], memberships=MEMBERS).group
    both = table([0, 1, 0, 1], [0, 0, 1, 1], memberships=MEMBERS)
    assert both.group.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("memberships", "sentence"),
    [
        ([[1, 0]] * 4, r"toy: memberships are int64 of shape \(4, 2\); give True or False"),
        ([True] * 4, r"bool of shape \(4,\); .* shape \(4, number of groups\)"),
        (np.zeros((4, 0), dtype=bool), r"bool of shape \(4, 0\)"),
        ([[True, False]] * 3, "x has 4 rows but membership has 3"),
    ],
)
def test_memberships_of_another_shape_or_kind_are_refused(memberships, sentence: str):
    with pytest.raises(UserError, match=sentence):
        table([0, 1, 0, 1], memberships=memberships)


# --- as_input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_become_float32(dtype: torch.dtype):
    out = as_input(torch.tensor([0.5, -2.0], dtype=dtype))
    assert out.dtype == torch.float32
    assert out.tolist() == [0.5, -2.0]


def test_token_ids_pass():
    ids = torch.tensor([[300, 2]])
    assert as_input(ids) is ids


def test_images_are_divided_by_255_and_the_storage_is_not():
    image = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(as_input(image), torch.tensor([0.0, 0.2, 1.0]))
    assert image.tolist() == [0, 51, 255]


# --- Dataset.of -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "kind", "shape", "vocabulary"),
    [
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), "image", (3, 4, 5), 0),
        (torch.zeros(2, 3, 4, 5), "image", (3, 4, 5), 0),
        (torch.zeros(2, 7), "table", (7,), 0),
        (np.zeros((2, 7)), "table", (7,), 0),
        (torch.tensor([[5, 1, 0], [2, 9, 9]]), "tokens", (3,), 10),
    ],
)
def test_of_tells_images_tables_and_tokens_apart(x, kind: str, shape: tuple[int, ...], vocabulary: int):
    said = {"kind": "tokens"} if kind == "tokens" else {}  # nothing else tells words from quantities
    info = Dataset.of(x, [0, 1], **said).info
    assert (info.kind, info.shape, info.vocabulary, info.n_stored) == (kind, shape, vocabulary, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int16, torch.int64])
def test_whole_numbers_are_quantities_unless_they_are_called_tokens(dtype: torch.dtype):
    data = Dataset.of(torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype), [0, 1])
    assert (data.info.kind, data.info.vocabulary, data.x.dtype) == ("table", 0, torch.float32)
    assert data.batch(torch.tensor([1])).x.tolist() == [[0, 1, 1]]


def test_whole_numbers_that_would_become_others_are_refused():
    assert Dataset.of(torch.tensor([[-(1 << 24)], [1 << 24]]), [0, 1]).x.flatten().tolist() == [-16777216, 16777216]
    with pytest.raises(UserError, match="up to 16,777,217, and beyond 16,777,216 not all of them are told apart"):
        Dataset.of(torch.tensor([[0], [-(1 << 24) - 1]]), [0, 1])


def test_of_counts_and_names_labels_and_attributes():
    data = Dataset.of(torch.zeros(4, 1), np.array([0, 2, 1, 2], dtype=np.int16), [0, 1, 1, 0], name="toy")
    info = data.info
    assert (info.task, info.n_classes, info.n_attributes) == ("classification", 3, 2)
    assert (info.class_names, info.attribute_names) == (("0", "1", "2"), ("0", "1"))
    assert data.label.dtype == torch.long
    assert data.index.tolist() == [0, 1, 2, 3]


def test_of_takes_what_it_is_told_over_what_it_counts():
    info = table([0, 1], [0, 0], n_classes=3, n_attributes=2, class_names=("a", "b", "c"), aligned=(0, 1, 1)).info
    assert (info.n_classes, info.n_attributes, info.class_names, info.aligned) == (3, 2, ("a", "b", "c"), (0, 1, 1))


def test_an_attribute_value_may_be_missing():
    assert table([0, 1], [0, 2]).info.n_attributes == 3


def test_of_floats_is_regression():
    one = Dataset.of(torch.zeros(3, 1), np.array([0.5, 1.0, 2.0]))
    two = Dataset.of(torch.zeros(3, 1), torch.rand(3, 2))
    assert (one.info.task, one.info.n_classes, tuple(one.label.shape)) == ("regression", 1, (3, 1))
    assert (two.info.task, two.info.n_classes, tuple(two.label.shape)) == ("regression", 2, (3, 2))
    assert one.label.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "label", "attribute", "message"),
    [
        (torch.zeros(3), [0, 1, 0], None, r"x has shape \(3,\); give one row per sample"),
        (torch.zeros(0, 2), [], None, r"x has shape \(0, 2\); .* at least one"),
        (torch.zeros(3, 1), [0, 1], None, "x has 3 rows but label has 2; give one label for each row"),
        (torch.zeros(3, 1), [], None, "x has 3 rows but label has 0; give one label for each row"),
        (torch.zeros(2, 1), [0, 1], [0], "x has 2 rows but attribute has 1; give one attribute for each row"),
        (torch.zeros(2, 1), ["cat", "dog"], None, "label is not made of numbers; number its values from 0"),
        (torch.zeros(2, 1), np.array(["cat", "dog"]), None, "label is not made of numbers; number its values from 0"),
        (torch.zeros(2, 1), [[0], [1]], None, r"label is int64 of shape \(2, 1\); .* shape \(2,\)"),
        (torch.zeros(2, 1), [0, 1], [0.5, 1.0], r"attribute is float32 of shape \(2,\); give one whole number"),
        (torch.zeros(2, 1), [0, 1], [[0], [1]], r"attribute is int64 of shape \(2, 1\); .* shape \(2,\)"),
        (torch.zeros(2, 1), [-1, 1], None, r"label -1 is not in 0…1; number the labels from 0 without gaps"),
        (torch.zeros(2, 1), [-1, -1], None, r"label -1 is not in 0…0"),
        (torch.zeros(2, 1), [0, 1], [0, -2], "attribute -2 is not in 0…0; number the attributes from 0"),
        (torch.zeros(3, 1), [0, 3, 1], None, "no sample has label 2; number the labels 0…C−1"),
        (torch.zeros(2, 1), [0.0, float("nan")], None, "label of row 1 holds a value that is not finite"),
        (torch.tensor([[0.0, 1.0], [0.0, torch.inf]]), [0, 1], None, "x of row 1 holds a value that is not finite"),
    ],
)
def test_of_refuses(x, label, attribute, message: str):
    with pytest.raises(UserError, match=f"^toy: {message}"):
        Dataset.of(x, label, attribute, name="toy")


def test_one_hot_rows_are_classes_and_no_targets():
    one_hot = torch.eye(3).repeat(4, 1)
    for label in (one_hot, one_hot.numpy()):
        with pytest.raises(UserError, match=r"a single 1 among zeros in each row, which says the class; .*argmax\(1\)"):
            Dataset.of(torch.rand(12, 2), label)
    assert Dataset.of(torch.rand(9, 2), one_hot[:9]).info.task == "regression"  # so few may be so by chance
    assert Dataset.of(torch.rand(12, 2), torch.ones(12, 1)).info.task == "regression"
    for other in (torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.5, -0.5]), torch.zeros(3)):
        found = Dataset.of(torch.rand(13, 2), torch.cat([one_hot, other[None]]))
        assert found.info.task == "regression"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_whose_colours_come_last_are_refused(dtype: torch.dtype):
    x = torch.zeros(4, 8, 7, 3, dtype=dtype)
    with pytest.raises(UserError, match=r"x has shape \(4, 8, 7, 3\), so its colours come last; give them first"):
        Dataset.of(x, [0, 1, 0, 1])
    assert Dataset.of(x.permute(0, 3, 1, 2), [0, 1, 0, 1]).info.shape == (3, 8, 7)
    assert Dataset.of(x[:, :3], [0, 1, 0, 1]).info.shape == (3, 7, 3)  # three colours, three pixels wide
    assert Dataset.of(x.float(), [0, 1, 0, 1], kind="table").info.shape == (8, 7, 3)


def test_of_refuses_ids_above_the_given_number():
    with pytest.raises(UserError, match="label 2 is not in 0…1"):
        table([0, 2], n_classes=2)
    with pytest.raises(UserError, match="attribute 5 is not in 0…4"):
        table([0, 1], [0, 5], n_attributes=5)


@pytest.mark.parametrize("row", [0, 4095, 4096, 9999])
def test_a_value_that_is_not_finite_is_named_by_its_row(row: int):
    x = torch.zeros(10_000, 1)
    x[row] = torch.nan
    with pytest.raises(UserError, match=f"x of row {row} holds"):
        Dataset.of(x, [0] * 9_999 + [1])


# --- storage ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["r", "r+", "c"])
def mapped(request: pytest.FixtureRequest, tmp_path: Path) -> np.memmap:
    """Images 0…11 of one 2 × 2 channel, memory-mapped."""
    np.save(tmp_path / "x.npy", np.arange(48, dtype=np.uint8).reshape(12, 1, 2, 2))
    return np.load(tmp_path / "x.npy", mmap_mode=request.param)


CUTS = {
    "all": lambda x: x,
    "a view": lambda x: x[3:],
    "a view of a view": lambda x: x[3:][2:7],
    "not contiguous": lambda x: x[::2],
    "another shape": lambda x: x[2:].reshape(-1, 4, 1, 1),
    "no longer called a map": lambda x: np.asarray(x)[1:],
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_mapped_storage_behaves_like_storage_in_memory(mapped: np.memmap, cut):
    array = np.array(cut(mapped))
    label = torch.arange(len(array)) % 2
    there, here = Dataset.of(cut(mapped), label), Dataset.of(torch.from_numpy(array), label)
    assert there.info == here.info
    rows = torch.tensor([3, 0, 3, 1])
    assert torch.equal(there.gather(rows), here.gather(rows))
    again, same = there.take(rows).batch(torch.tensor([0, 3])), here.take(rows).batch(torch.tensor([0, 3]))
    assert torch.equal(again.x, same.x)
    assert again.x.tolist() == (torch.from_numpy(array)[[3, 1]] / 255).tolist()


def test_a_contiguous_cut_of_a_mapped_file_stays_mapped(mapped: np.memmap):
    """The file changes below it, so it was not copied; only a write-through map would write."""
    data = Dataset.of(mapped[4:], [0, 1] * 4)
    assert mapped.filename is not None
    with open(mapped.filename, "r+b") as file:
        file.seek(-32, 2)  # image 4, the first of the cut
        file.write(bytes([200]))
    assert data.x[0, 0, 0, 0] == 200


def test_mapped_files_are_not_written(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.ones((2, 3), dtype=np.float32))
    before = (tmp_path / "x.npy").read_bytes()
    data = Dataset.of(np.load(tmp_path / "x.npy", mmap_mode="r"), [0, 1])
    data.gather(torch.tensor([0, 1])).zero_()
    data.x.zero_()  # nobody should; a private map takes it without harm
    assert (tmp_path / "x.npy").read_bytes() == before


def test_read_only_arrays_in_memory_are_taken():
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    x.flags.writeable = False
    assert Dataset.of(x, [0, 1]).x.tolist() == [[0, 1], [2, 3]]


def test_images_are_uint8_until_they_are_gathered():
    data = Dataset.of(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8), [0, 1, 0, 1]).take(torch.tensor([1, 2]))
    assert data.x.dtype == torch.uint8
    batch = data.batch(torch.tensor([0]))
    torch.testing.assert_close(batch.x, torch.full((1, 1, 2, 2), 0.2))


def test_double_tables_are_gathered_as_float32():
    assert Dataset.of(np.zeros((2, 3)), [0, 1]).batch(torch.tensor([0])).x.dtype == torch.float32


def test_no_operation_copies_the_storage():
    data, draw = table([0, 1] * 6, [0, 0, 1, 1] * 3), generator(0)
    results = [
        data.take(data.label == 1),
        *split(data, 0.5, draw),
        subsample(data, 4, draw),
        upweight(data, data.label == 1, 3),
        balance(data, "group", draw),
        label_noise(data, 0.5, draw),
    ]
    assert all(result.x is data.x and result.info is data.info for result in results)


# --- rows and identities ----------------------------------------------------------------------------------------------


def test_take_by_position_mask_and_repetition():
    data = table([0, 1, 1, 0], [1, 1, 0, 0])
    assert data.take(torch.tensor([3, 1, 1])).index.tolist() == [3, 1, 1]
    assert data.take(data.label == 1).index.tolist() == [1, 2]
    assert data.take(torch.tensor([3, 1])).take(torch.tensor([1])).index.tolist() == [1]


@given(labels, st.data())
def test_identities_survive_any_chain_of_operations(label: list[int], data: st.DataObject):
    whole = table(label, [i % 2 for i in range(len(label))])
    now, draw = whole, generator(data.draw(seeds))
    for name in data.draw(st.lists(st.sampled_from(["take", "subsample", "upweight", "balance"]), max_size=4)):
        if name == "take":
            now = now.take(torch.tensor(data.draw(st.lists(st.integers(0, len(now) - 1), min_size=1, max_size=30))))
        elif name == "subsample":
            now = subsample(now, data.draw(st.integers(1, len(now))), draw)
        elif name == "upweight":
            now = upweight(now, now.label == 0, 2)
        else:
            now = balance(now, data.draw(st.sampled_from(["class", "group"])), draw)
        assert_rows_agree(now, whole)


def test_a_batch_carries_every_column():
    batch = table([0, 1, 1], [1, 0, 1]).take(torch.tensor([2, 0])).batch(torch.tensor([1, 0]))
    assert batch.x.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert batch.label.tolist() == [0, 1]
    assert batch.index is not None
    assert batch.attribute is not None
    assert (batch.attribute.tolist(), batch.index.tolist()) == ([1, 1], [0, 2])


def test_without_attribute_a_batch_has_none():
    assert table([0, 1]).batch(torch.tensor([0])).attribute is None
    assert table([0, 1]).take(torch.tensor([0])).attribute is None


@given(labels, st.integers(1, 9))
def test_batches_come_in_order_and_whole(label: list[int], size: int):
    batches = list(table(label).batches(size))
    assert torch.cat([batch.label for batch in batches]).tolist() == label
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= size


def test_groups_are_numbered_label_first():
    assert table([0, 0, 1, 1, 2], [0, 2, 1, 2, 0]).group.tolist() == [0, 2, 4, 5, 6]


def test_groups_of_a_regression_are_its_attribute():
    assert regression(3, [0, 2, 1]).group.tolist() == [0, 2, 1]


def test_conflicting_is_what_is_not_aligned():
    data = table([0, 0, 1, 1], [1, 0, 0, 1], aligned=(1, 0))
    assert data.conflicting.tolist() == [False, True, False, True]


@pytest.mark.parametrize("column", ["group", "conflicting"])
def test_groups_are_refused_without_attribute(column: str):
    with pytest.raises(UserError, match="toy has no attribute, so its samples have no groups; pass attribute="):
        getattr(table([0, 1]), column)


def test_conflicting_is_refused_when_nothing_is_known_to_be_aligned():
    with pytest.raises(UserError, match="toy does not say which attribute"):
        _ = table([0, 1], [0, 1]).conflicting


def test_splits_speak_of_their_training_data():
    train, test = table([0, 1]), table([0, 1, 2])
    assert Splits(train, None, test).info is train.info


# --- data that was read from files ------------------------------------------------------------------------------------


def read(part: list[int], label: list[int] | None, attribute: list[int] | None = None, names=("a", "b")) -> Columns:
    """What a reader might have found: row i holds i."""
    n = len(part)
    source = Source("files", pd.DataFrame(index=range(n)), np.array(part), official=True, label="label")
    return Columns(
        x=np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        label=None if label is None else np.array(label),
        attribute=None if attribute is None else np.array(attribute),
        class_names=names,
        attribute_names=() if attribute is None else ("x", "y", "z"),
        source=source,
    )


def same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def test_parts_are_cut_as_the_source_says_and_put_together_again():
    data = Dataset.from_columns(read([2, 0, 1, 0, 2, 0], [0, 1, 0, 1, 1, 0], [0, 0, 1, 1, 0, 2]))
    splits = Splits.of(data)
    assert splits.valid is not None
    assert [part.index.tolist() for part in (splits.train, splits.valid, splits.test)] == [[1, 3, 5], [2], [0, 4]]
    assert splits.train.label.tolist() == [1, 1, 0]
    assert same(splits.test.attribute, torch.tensor([0, 0]))
    whole = splits.whole
    assert whole.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert whole.label.tolist() == data.label.tolist()
    assert same(whole.attribute, data.attribute)
    assert whole.x.data_ptr() == data.x.data_ptr()
    assert whole.source is data.source
    some = Splits.of(data.take(torch.tensor([5, 1, 4])))
    assert (some.train.index.tolist(), some.valid, some.test.index.tolist()) == ([5, 1], None, [4])
    assert some.whole.index.tolist() == [1, 4, 5]


def test_the_whole_has_an_attribute_only_if_all_parts_have():
    data = Dataset.from_columns(read([0, 0, 2, 2], [0, 1, 0, 1], [0, 1, 1, 0]))
    splits = Splits.of(data)
    assert splits.whole.attribute is not None
    blind = dataclasses.replace(splits.test, attribute=None)
    assert dataclasses.replace(splits, test=blind).whole.attribute is None


def test_parts_of_data_without_a_source_are_refused():
    with pytest.raises(
        UserError, match=r"toy does not say which sample belongs to which part; cut it with longcut\.da"
    ):
        Splits.of(Dataset.of(torch.zeros(4, 2), [0, 1, 0, 1], name="toy"))


def test_what_is_known_of_columns_is_known_of_the_data():
    data = Dataset.from_columns(read([0, 0, 2], [0, 0, 2], [0, 2, 0], names=("a", "b", "c")))
    info = data.info
    assert (info.name, info.n_classes, info.class_names) == ("files", 3, ("a", "b", "c"))
    assert (info.n_attributes, info.attribute_names) == (3, ("x", "y", "z"))
    assert data.x.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert Dataset.from_columns(read([0, 2], [0, 1])).info.aligned == ()
    numbers = dataclasses.replace(read([0, 2], None, names=()), label=np.array([0.5, 1], np.float32))
    assert Dataset.from_columns(numbers).info.task == "regression"
    tokens = dataclasses.replace(read([0, 2], [0, 1]), x=np.array([[2, 3], [4, 0]]), vocabulary=9)
    assert Dataset.from_columns(tokens).info.vocabulary == 9


def test_samples_without_a_label_get_one_that_says_nothing():
    classes = Dataset.from_columns(read([2, 2], None))
    assert (classes.label.tolist(), classes.info.task, classes.info.n_classes) == ([0, 0], "classification", 2)
    numbers = Dataset.from_columns(read([2, 2], None, names=()))
    assert (numbers.label.tolist(), numbers.info.task) == ([[0.0], [0.0]], "regression")


def test_what_is_usual_is_decided_by_the_training_rows():
    part, label, attribute = [0, 0, 0, 0, 2, 2, 2, 2], [0, 0, 1, 1] * 2, [0, 0, 1, 1, 1, 1, 0, 0]
    assert Dataset.from_columns(read(part, label, attribute)).info.aligned == (0, 1)
    assert Dataset.from_columns(read([2 - p for p in part], label, attribute)).info.aligned == (1, 0)
    assert Dataset.from_columns(read([2] * 8, label, attribute)).info.aligned == (0, 0)  # a tie, and no training rows


def test_a_common_attribute_does_not_go_with_every_label():
    """Ninety of a hundred have attribute 0, in either class most; but the second class has more of attribute 1."""
    label, attribute = [0] * 50 + [1] * 50, [0] * 48 + [1] * 2 + [0] * 42 + [1] * 8
    assert usual_attribute(Dataset.of(torch.zeros(100, 1), label, attribute)) == (0, 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=9, max_size=60))
def test_the_usual_attribute_is_the_largest_standardised_residual(pairs: list[tuple[int, int]]):
    pairs = [*pairs, *((i, i) for i in range(3))]
    label, attribute = zip(*pairs, strict=True)
    found = usual_attribute(Dataset.of(torch.zeros(len(pairs), 1), label, attribute))
    counts, n = Counter(pairs), len(pairs)
    for y in range(3):
        expected = [label.count(y) * attribute.count(a) / n for a in range(3)]
        residual = [(counts[y, a] - expected[a]) / expected[a] ** 0.5 for a in range(3)]
        assert residual[found[y]] == pytest.approx(max(residual))


# --- split ------------------------------------------------------------------------------------------------------------


@given(paired_labels, st.floats(0.01, 0.99), seeds)
def test_split_is_disjoint_complete_and_stratified(label: list[int], fraction: float, seed: int):
    data = table(label)
    kept, held = split(data, fraction, generator(seed))
    assert sorted([*kept.index.tolist(), *held.index.tolist()]) == list(range(len(data)))
    for part in (kept, held):
        assert_rows_agree(part, data)
    have, whole = Counter(held.label.tolist()), Counter(label)
    for value, count in whole.items():
        assert 1 <= have[value] <= count - 1
        assert have[value] == 1 or have[value] == count - 1 or abs(have[value] - fraction * count) <= 0.5


def test_split_by_group_holds_out_of_each_group():
    data = table([0] * 30 + [1] * 10, [0] * 20 + [1] * 10 + [0] * 6 + [1] * 4)
    _, held = split(data, 0.5, generator(0), by="group")
    assert held.group.bincount().tolist() == [10, 5, 3, 2]


def test_split_depends_on_its_generator():
    data = table([0, 1] * 50)
    held = [split(data, 0.5, generator(seed))[1].index.tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_split_of_a_regression_is_random():
    kept, held = split(regression(10), 0.3, generator(0))
    assert (len(kept), len(held)) == (7, 3)
    assert sorted([*kept.index.tolist(), *held.index.tolist()]) == list(range(10))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_split_refuses_a_fraction_outside_0_to_1(fraction: float):
    with pytest.raises(UserError, match=f"fraction to split off is {fraction}; it must lie between 0 and 1"):
        split(table([0, 0]), fraction, generator(0))


def test_split_refuses_a_class_or_group_of_one():
    with pytest.raises(UserError, match="toy: class 1 has one sample, so it cannot be in both parts of a split; add"):
        split(table([0, 0, 1]), 0.5, generator(0))
    with pytest.raises(UserError, match="toy: group 2 has one sample"):
        split(table([0, 0, 1, 1, 1], [0, 0, 0, 1, 1]), 0.5, generator(0), by="group")


# --- subsample, upweight, balance -------------------------------------------------------------------------------------


@given(labels, st.data())
def test_subsample_draws_without_repetition_in_the_old_order(label: list[int], data: st.DataObject):
    n = data.draw(st.integers(1, len(label)))
    index = subsample(table(label), n, generator(data.draw(seeds))).index.tolist()
    assert len(index) == n
    assert index == sorted(set(index))


def test_subsample_draws_every_sample_equally_often():
    data = table([0, 1] * 5)
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[subsample(data, 3, generator(seed)).index] += 1
    assert (counts / 2000 - 0.3).abs().max() < 5 * (0.3 * 0.7 / 2000) ** 0.5  # five standard errors


@pytest.mark.parametrize("n", [0, 3, -1])
def test_subsample_refuses_a_number_it_cannot_draw(n: int):
    with pytest.raises(UserError, match=f"cannot draw {n} of 2 samples; give a number from 1 to 2"):
        subsample(table([0, 1]), n, generator(0))


def test_upweight_repeats_the_chosen_samples_under_one_identity():
    chosen = torch.tensor([False, True, False])
    assert upweight(table([0, 1, 0]), chosen, 3).index.tolist() == [0, 1, 1, 1, 2]


@given(labels, st.sampled_from(["class", "group"]), seeds)
def test_balance_gives_equal_groups_of_equally_repeated_members(label: list[int], by, seed: int):
    whole = table(label, [i % 3 % 2 for i in range(len(label))])
    balanced = balance(whole, by, generator(seed))
    assert len(balanced) == len(whole)
    ids = {"class": whole.label, "group": whole.group}[by]
    groups = set(ids.tolist())
    sizes = Counter({group: 0 for group in groups})
    sizes.update(ids[balanced.index].tolist())
    assert set(sizes) == groups
    assert max(sizes.values()) - min(sizes.values()) <= 1
    times = torch.bincount(balanced.index, minlength=len(whole))
    for group in groups:
        members = times[ids == group]
        assert members.max() - members.min() <= 1


def test_balance_gives_what_is_left_over_to_any_group():
    data = table([0, 0, 0, 1, 1])
    larger = {balance(data, "class", generator(seed)).label.bincount().argmax().item() for seed in range(20)}
    assert larger == {0, 1}


def test_balance_goes_by_any_ids():
    data = table([0, 0, 0, 0, 1, 1])
    drawn = balance(data, torch.tensor([7, 7, 7, 7, 7, 3]), generator(0))
    assert sorted(drawn.index.tolist())[3:] == [5, 5, 5]


@given(labels, st.sampled_from(["class", "group"]), seeds)
def test_undersample_cuts_all_groups_to_the_smallest_without_repetition(label: list[int], by, seed: int):
    whole = table(label, [i % 3 % 2 for i in range(len(label))])
    ids = {"class": whole.label, "group": whole.group}[by]
    some = undersample(whole, by, generator(seed))
    smallest = min(Counter(ids.tolist()).values())
    assert Counter(ids[some.index].tolist()) == dict.fromkeys(set(ids.tolist()), smallest)
    assert (some.index.diff() > 0).all()
    assert torch.equal(undersample(whole, ids, generator(seed)).index, some.index)


def test_undersample_takes_each_member_equally_often():
    data, counts = table([0] * 6 + [1] * 2), torch.zeros(8)
    for seed in range(1500):
        counts[undersample(data, "class", generator(seed)).index] += 1
    assert (counts[:6] / 1500 - 1 / 3).abs().max() < 5 * (2 / 9 / 1500) ** 0.5  # five standard errors
    assert counts[6:].tolist() == [1500, 1500]


def test_undersample_refuses_a_regression():
    with pytest.raises(UserError, match="toy: the targets of a regression are no classes"):
        undersample(regression(4), "class", generator(0))


def test_balance_refuses_a_regression():
    with pytest.raises(UserError, match="toy: the targets of a regression are no classes"):
        balance(regression(4), "class", generator(0))


# --- label noise ------------------------------------------------------------------------------------------------------


def test_symmetric_noise_has_its_rate_and_no_favourite():
    data = table([0, 1, 2, 3] * 5000)
    noisy = label_noise(data, 0.3, generator(0)).label
    flipped = noisy != data.label
    assert abs(flipped.double().mean() - 0.3) < 5 * (0.3 * 0.7 / 20_000) ** 0.5  # five standard errors
    step = (noisy - data.label) % 4
    assert step[flipped].bincount(minlength=4)[0] == 0
    share = step[flipped].bincount(minlength=4)[1:] / flipped.sum()
    assert (share - 1 / 3).abs().max() < 5 * (2 / 9 / 6000) ** 0.5


@given(st.integers(2, 6), seeds, st.sampled_from(["symmetric", "asymmetric"]))
def test_noise_of_rate_one_flips_every_label_and_of_rate_zero_none(classes: int, seed: int, kind):
    data = table(list(range(classes)) * 3)
    noisy = label_noise(data, 1, generator(seed), kind).label
    assert (noisy != data.label).all()
    assert 0 <= noisy.min() <= noisy.max() < classes
    assert torch.equal(label_noise(data, 0, generator(seed), kind).label, data.label)


def test_asymmetric_noise_takes_the_next_label():
    data = table([0, 1, 2] * 2000)
    assert label_noise(data, 1, generator(0), "asymmetric").label.tolist() == [1, 2, 0] * 2000
    noisy = label_noise(data, 0.4, generator(0), "asymmetric").label
    flipped = noisy != data.label
    assert torch.equal(noisy[flipped], (data.label[flipped] + 1) % 3)
    assert abs(flipped.double().mean() - 0.4) < 5 * (0.4 * 0.6 / 6000) ** 0.5


def test_noise_is_in_the_labels_alone():
    data = table([0, 1] * 5, [0, 0, 1, 1, 0] * 2)
    before = data.label.clone()
    noisy = label_noise(data, 1, generator(0))
    assert torch.equal(data.label, before)
    assert noisy.attribute is data.attribute
    assert noisy.index is data.index


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_noise_refuses_a_rate_outside_0_to_1(rate: float):
    with pytest.raises(UserError, match=f"label noise rate is {rate}; it must lie between 0 and 1"):
        label_noise(table([0, 1]), rate, generator(0))


REGRESSION_OF_TWO = Dataset.of(torch.zeros(2, 1), torch.zeros(2, 2), name="toy")  # a target of width two


@pytest.mark.parametrize("data", [table([0, 0]), REGRESSION_OF_TWO], ids=["one class", "regression"])
def test_noise_refuses_data_without_two_classes(data: Dataset):
    with pytest.raises(UserError, match="toy: label noise needs at least two classes"):
        label_noise(data, 0.5, generator(0))


# --- pools ------------------------------------------------------------------------------------------------------------


@given(labels, st.integers(1, 50), seeds)
def test_pools_cover_every_sample_once(label: list[int], size: int, seed: int):
    drawn = list(pools(table(label), size, generator(seed)))
    index = torch.cat([pool.index for pool in drawn if pool.index is not None])
    assert sorted(index.tolist()) == list(range(len(label)))
    assert all(len(pool) == size for pool in drawn[:-1])
    for pool in drawn:
        assert pool.index is not None
        assert pool.label.tolist() == [label[i] for i in pool.index]
        assert pool.x[:, 0].tolist() == [2.0 * i for i in pool.index]


def test_pools_keep_repeated_samples():
    data = upweight(table([0, 1, 0]), torch.tensor([False, True, False]), 3)
    index = torch.cat([pool.index for pool in pools(data, 2, generator(0)) if pool.index is not None])
    assert Counter(index.tolist()) == {0: 1, 1: 3, 2: 1}


@pytest.mark.parametrize(("n", "size", "sizes"), [(10, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3]), (4, 4, [4])])
def test_whole_pools_only(n: int, size: int, sizes: list[int]):
    data = table([0] * n)
    assert [len(pool) for pool in pools(data, size, generator(0), whole_only=True)] == sizes


def test_pools_are_in_random_order():
    def order(seed: int) -> list[float]:
        return [i for pool in pools(table([0] * 50), 8, generator(seed)) for i in pool.x[:, 0].tolist()]

    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(5)}) == 5
    assert order(0) != sorted(order(0))


# --- ranks within groups ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 9)), st.randoms())
def test_ranks_and_turns_as_a_loop_counts_them(ids: list[int], random):
    value, seen = torch.tensor(ids, dtype=torch.long), Counter()
    expected = []
    for one in ids:
        expected.append(seen[one])
        seen[one] += 1
    assert ranks(value).tolist() == expected
    rows = list(range(len(ids)))
    random.shuffle(rows)
    seen.clear()
    turns: list[list[int]] = [[] for _ in ids]
    for row in rows:
        turns[seen[ids[row]]].append(row)
        seen[ids[row]] += 1
    assert in_turns(value, torch.tensor(rows, dtype=torch.long)).tolist() == [row for turn in turns for row in turn]


def test_rows_at_random_with_values_in_turns():
    value = torch.tensor([0] * 90 + [1] * 10)
    for n, counts in ((30, [20, 10]), (10, [5, 5]), (500, [90, 10])):
        rows = in_turns(value, torch.randperm(100, generator=generator(0)))[:n]
        assert len(rows.unique()) == len(rows)
        assert value[rows].bincount().tolist() == counts
