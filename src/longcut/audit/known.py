"""Where the attribute is known: are the suspected samples those that contradict it?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from longcut.audit.association import wilson
from longcut.audit.base import Finding, View
from longcut.audit.judged import Judged

__all__ = ["known"]


def known(view: View, judged: Judged, shortcuts: Mapping[str, Finding]) -> Finding | None:
    """Precision and recall of the suspected set, against the share of conflicting samples in the data.

    The p-value is that of a hypergeometric draw: as many samples as are suspected, taken at random. ``more`` gives
    precision and recall also at the size of the conflicting set, taking the most suspicious first. All of it is of the
    samples whose attribute is known.
    """
    if view.attribute is None or not view.data.info.aligned:
        return None
    from scipy.stats import hypergeom

    told = view.attribute >= 0
    against, suspected, score = view.data.conflicting.numpy()[told], judged.suspected[told], judged.score[told]
    n, positives, count = len(against), int(against.sum()), int(suspected.sum())
    hits = int((against & suspected).sum())
    base = positives / n
    question = "Are the suspected samples those that contradict the named attribute?"
    measure = "precision: share of the suspected that contradict the attribute"
    if not count or not positives:
        sentence = "No sample is suspected." if positives else "No sample contradicts the attribute."
        return Finding("known", question, np.nan, measure, base, (np.nan, np.nan), np.nan, "unknown", sentence)
    precision, recall = hits / count, hits / positives
    low, high = wilson(hits, count)
    p = float(hypergeom.sf(hits - 1, n, positives, count))
    worst = np.argsort(-score, kind="stable")[:positives]
    top = float(against[worst].mean())
    follows = p <= view.level and low > 2 * base
    sentence = (
        f"{precision:.0%} of the {count:,} suspected samples contradict the attribute ({base:.1%} of all samples do), "
        f"and {recall:.0%} of the {positives:,} that contradict it are suspected; "
    )
    sentence += (
        "the biased model found this shortcut by itself." if follows else "what is learned first is another cue."
    )
    table = (
        {"chosen": "suspected", "samples": count, "precision": precision, "recall": recall},
        {
            "chosen": "as many as contradict, most suspicious first",
            "samples": positives,
            "precision": top,
            "recall": top,
        },
        {"chosen": "at random", "samples": count, "precision": base, "recall": count / n},
    )
    return Finding(
        "known", question, precision, measure, base, (low, high), p,
        "alarm" if follows else "notice" if p <= view.level else "clear", sentence, table,
    )  # fmt: skip
