"""The toy of Just Mix Once: does mixing across groups beat oversampling them, and for whom?

Four Gaussian groups in the plane: left and right is the attribute, down and up the label. In training nearly all of
class 0 is left and nearly all of class 1 right; in the target all groups are alike. Oversampling (JTT) repeats the few,
mixing (JM1) blends them with the many of their class. Prints a table and saves the picture jm1-toy.svg.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from statistics import NormalDist, mean, stdev

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from longcut import Dataset, mixing
from longcut.data import generator, upweight
from longcut.evaluate import metrics
from longcut.mixing import PairRule, RatioRule
from longcut.report.figures import INK, styles

SEEDS = 10
ROUNDS = 5  # epochs of fresh mixes
SMALL = (25, 5)  # of 500 samples of a class: one in 20, as in Waterbirds, and one in 100
LABELS, ATTRIBUTES = (2, 4), (2, 6)  # how far apart the means are, in standard deviations
SHOWN = (25, 2, 6)


# --- data -------------------------------------------------------------------------------------------------------------


def groups(sizes: Sequence[int], labels: float, attributes: float, seed: int) -> Dataset:
    """Gaussians of variance 1 around ``(±attributes / 2, ±labels / 2)``; sizes by ``2 * label + attribute``."""
    cell = torch.repeat_interleave(torch.tensor(sizes))
    label, attribute = cell // 2, cell % 2
    centre = torch.stack([(attribute - 0.5) * attributes, (label - 0.5) * labels], dim=1)
    x = centre + torch.randn(len(cell), 2, generator=generator(seed))
    return Dataset.of(x, label, attribute, name="gaussians", aligned=(0, 1))


def oversampled(train: Dataset, few: Tensor) -> Dataset:
    """JTT: the few (boolean ``(n,)``) so often that they weigh as much as the rest."""
    return upweight(train, few, max(1, round(float((~few).sum() / few.sum().clamp_min(1)))))


def mixed(
    train: Dataset, pair: PairRule, seed: int, *, share: RatioRule | None = None, rounds: int = ROUNDS
) -> Dataset:
    """Every sample mixed with a partner, by default with a share from U(0, 1); JM1, if ``pair`` is ``across(few)``."""
    anchors = train.batch(torch.arange(len(train)).repeat(rounds))
    mix = mixing.Mix(pair, share or mixing.uniform(), mixing.linear, mixing.own)
    x = mix(anchors, train, generator(seed, 1)).x
    return Dataset.of(x, anchors.label, name="mixes")  # which have no attribute: they lie between


def mixed_with_any_class(train: Dataset, few: Tensor, seed: int) -> tuple[Dataset, Tensor]:
    """JM1 without the class constraint (Appendix C), and how much each blend counts.

    The few are blended with the many of either class, and a blend of two classes has both labels, by their shares: it
    stands twice, with weights that sum to 1.
    """
    anchors = train.batch(torch.arange(len(train)).repeat(ROUNDS))
    mix = mixing.Mix(mixing.across(few, conditional=False), mixing.uniform(), mixing.linear, mixing.proportional)
    made = mix(anchors, train, generator(seed, 1))
    target = made.target
    both = Dataset.of(made.x.repeat(2, 1), torch.cat([target.label_a, target.label_b]), name="mixes of any class")
    return both, torch.cat([target.share, 1 - target.share])


def sets(source: Dataset, few: Tensor, seed: int) -> dict[str, Dataset]:
    """What a learner is given: last, oversampled and then mixed within the class, whichever side the partner is on."""
    anyone = mixing.keyed(lambda batch: batch.label, lambda pool: pool.label)
    return {
        "source": source,
        "oversampled": oversampled(source, few),
        "mixed": mixed(source, mixing.across(few), seed),
        "both": mixed(oversampled(source, few), anyone, seed, rounds=ROUNDS // 2),
    }


# --- learners ---------------------------------------------------------------------------------------------------------


def line(data: Dataset, weights: Tensor | None = None) -> LogisticRegression:
    """Logistic regression; the weak penalty matters only where the classes can be told apart without error."""
    counted = None if weights is None else weights.double().numpy()
    return LogisticRegression(C=100, solver="newton-cholesky").fit(*columns(data), sample_weight=counted)


def nearest(data: Dataset) -> KNeighborsClassifier:
    """One nearest neighbour: a learner that knows all its samples by heart, as a large net does."""
    return KNeighborsClassifier(1).fit(*columns(data))


def columns(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return data.gather(torch.arange(len(data))).double().numpy(), data.label.numpy()


def errors(model: LogisticRegression | KNeighborsClassifier, data: Dataset) -> Tensor:
    x, label = columns(data)
    return torch.from_numpy(model.predict(x) != label)


def worst_group(model: LogisticRegression | KNeighborsClassifier, target: Dataset) -> float:
    return metrics((~errors(model, target)).float(), target)["worst_group"]


# --- the comparison ---------------------------------------------------------------------------------------------------

HEADER = ("few", "labels", "attributes", "best", "source", "oversampled", "mixed", "both", "mixed − oversampled")


def compared(few: int, labels: float, attributes: float, seed: int) -> dict[str, dict[str, float]]:
    """Worst-group accuracy on the target, in percent: of each learner, trained on each set."""
    source = groups((500 - few, few, few, 500 - few), labels, attributes, 2 * seed)
    target = groups((2000,) * 4, labels, attributes, 2 * seed + 1)
    known = sets(source, source.conflicting, seed)
    found = sets(source, errors(line(source), source), seed)
    learners = {
        "A line, the few known": (line, known),
        "A line, its own errors for the few": (line, found),
        "Nearest neighbour, the few known": (nearest, known),
    }
    return {
        title: {name: 100 * worst_group(learner(data), target) for name, data in given.items()}
        for title, (learner, given) in learners.items()
    }


def tables() -> dict[str, list[tuple[str, ...]]]:
    """Title to rows below ``HEADER``: means over seeds, and the difference ± its standard deviation."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    for few, labels, attributes in product(SMALL, LABELS, ATTRIBUTES):
        runs = [compared(few, labels, attributes, seed) for seed in range(SEEDS)]
        best = 100 * NormalDist().cdf(labels / 2)
        for title in runs[0]:
            means = [mean(run[title][name] for run in runs) for name in runs[0][title]]
            gain = [run[title]["mixed"] - run[title]["oversampled"] for run in runs]
            cells = (str(few), str(labels), str(attributes), *(f"{value:.1f}" for value in (best, *means)))
            tables.setdefault(title, []).append((*cells, f"{mean(gain):+.1f} ± {stdev(gain):.1f}"))
    return tables


ANY = ("few", "labels", "attributes", "mixed", "of any class", "of any class − mixed")


def unconstrained() -> list[tuple[str, ...]]:
    """Rows below ``ANY``: worst group of a line with the few known, with and without the class constraint."""
    rows = []
    for few, labels, attributes in product(SMALL, LABELS, ATTRIBUTES):
        pairs = []
        for seed in range(SEEDS):
            source = groups((500 - few, few, few, 500 - few), labels, attributes, 2 * seed)
            target = groups((2000,) * 4, labels, attributes, 2 * seed + 1)
            one = line(mixed(source, mixing.across(source.conflicting), seed))
            other = line(*mixed_with_any_class(source, source.conflicting, seed))
            pairs.append([100 * worst_group(model, target) for model in (one, other)])
        gain = [other - one for one, other in pairs]
        means = (f"{mean(values):.1f}" for values in zip(*pairs, strict=True))
        rows.append((str(few), str(labels), str(attributes), *means, f"{mean(gain):+.1f} ± {stdev(gain):.1f}"))
    return rows


# --- the picture ------------------------------------------------------------------------------------------------------


def picture() -> Figure:
    """Five sets, one seed: the line learned in each (solid), and the best line of the target (dotted)."""
    few, labels, attributes = SHOWN
    sizes = (500 - few, few, few, 500 - few)
    source, target = groups(sizes, labels, attributes, 0), groups((250,) * 4, labels, attributes, 1)
    any_class, weights = mixed_with_any_class(source, source.conflicting, 0)
    panels = {
        "source": source,
        "target": target,
        "oversampled (JTT)": oversampled(source, source.conflicting),
        "mixed (JM1)": mixed(source, mixing.across(source.conflicting), 0),
        "mixed, of any class": any_class,
    }
    judge = groups((2000,) * 4, labels, attributes, 3)
    figure = Figure(figsize=(12.5, 3), layout="constrained")
    for axes, (title, data) in zip(figure.subplots(1, 5, sharex=True, sharey=True), panels.items(), strict=True):
        model = line(data, weights if data is any_class else None)
        scatter(axes, data)
        a, b, c = np.append(model.coef_, model.intercept_)
        axes.axline((-c * a / (a * a + b * b), -c * b / (a * a + b * b)), slope=-a / b, color=INK)
        axes.axhline(0, color=INK, linestyle=":", linewidth=1)
        axes.set_title(f"{title}\nworst group {100 * worst_group(model, judge):.1f} %", fontsize=9)
        axes.set(xlim=(-6.5, 6.5), ylim=(-4.5, 4.5), xlabel="attribute")
        axes.tick_params(labelsize=7)
    figure.axes[0].set_ylabel("label")
    return figure


def scatter(axes: Axes, data: Dataset, most: int = 150) -> None:
    """Some of the samples, coloured by label; crosses contradict the shortcut, larger the more often they stand."""
    data = data.take(torch.randperm(len(data), generator=generator(0))[:most])
    crossed = torch.zeros(len(data), dtype=torch.bool) if data.attribute is None else data.conflicting
    for label, look in enumerate(styles(["down", "up"]).values()):
        for marker, size, which in ((".", 4, ~crossed), ("x", 3, crossed)):
            index, times = data.index[(data.label == label) & which].unique(return_counts=True)
            for n in times.unique():
                x, y = data.x[index[times == n]].T
                axes.plot(x, y, marker, color=look.color, markersize=size * float(n) ** 0.5, alpha=0.8)


def main() -> None:
    for title, rows in tables().items():
        show(title, HEADER, rows)
    show("A line, the few known, blended with any class", ANY, unconstrained())
    with matplotlib.rc_context({"svg.hashsalt": "jm1-toy"}):
        picture().savefig("jm1-toy.svg", metadata={"Date": None})


def show(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    print(f"\n{title}\n")
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
