"""Which epoch of a run counts: the rules of selection, as they are typed and as tables say them."""

from __future__ import annotations

from longcut.errors import UserError

__all__ = ["parse_selection", "rule_in_words"]


def parse_selection(select: str) -> tuple[str, str]:
    """``"last"``, ``"best:METRIC"`` (on validation), ``"oracle"`` or ``"oracle:METRIC"`` (on test) to (split, metric).

    >>> parse_selection("best:worst_group"), parse_selection("oracle")
    (('valid', 'worst_group'), ('test', 'average'))
    """
    rule, colon, metric = select.partition(":")
    if select == "last":
        return "", ""
    if select == "oracle":
        return "test", "average"
    if rule in ("best", "oracle") and colon and metric:
        from longcut.evaluate import METRICS

        METRICS.find(metric)
        return "valid" if rule == "best" else "test", metric
    raise UserError(
        f"selection rule '{select}' is not known; "
        "use last, best:METRIC (on validation), oracle or oracle:METRIC (on test)."
    )


def rule_in_words(select: str) -> str:
    """A selection rule as tables say it: an oracle looks at the test set, as nobody who needs a model can.

    >>> rule_in_words("best:worst_group"), rule_in_words("oracle")
    ('best worst group on validation', 'oracle: best average on test')
    """
    watch, metric = parse_selection(select)
    if not watch:
        return "last epoch"
    best = f"best {metric.replace('_', ' ')} on "
    return f"oracle: {best}test" if watch == "test" else f"{best}validation"
