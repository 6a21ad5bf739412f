"""What results show of themselves in a notebook: small, escaped, and only what is defined."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from test_audit_folder import HOSTILE, bare

from longcut import Training, fit, load
from longcut.compare import compare
from longcut.fit import Fitted
from longcut.methods import build
from longcut.notebook import shown
from longcut.plans import plan
from longcut.tables import Records


def plain(html: str) -> bool:
    """Whether there is nothing but text in paragraphs and a table."""
    tags = {tag.split(">")[0].strip("/").split()[0] for tag in html.split("<")[1:]}
    return tags <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td"}


def test_an_audit_shows_its_headline_its_advice_and_each_finding():
    audit = bare()
    html = audit._repr_html_()
    assert plain(html)
    assert f"alarm: {audit.headline}".replace("'", "&#x27;") in html
    assert html.count("<tr>") == 1 + len(audit.findings)
    assert "<td>0.5</td><td>0.1</td><td>0.01</td>" in html
    assert "<td>–</td>" in html  # of the finding that cannot tell
    hostile = dataclasses.replace(audit.findings[0], sentence=HOSTILE[2], verdict="alarm")
    assert plain(dataclasses.replace(audit, findings=(hostile,))._repr_html_())


def test_a_comparison_is_a_list_and_shows_means_over_seeds(tmp_path: Path):
    data = "colored-digits"
    plans = [plan(data, method, seed=seed, settings={"epochs": 1}) for method in ("erm", "lff") for seed in range(2)]
    found = compare(plans, tmp_path)
    assert isinstance(found, list) and len(found) == 4
    html = found._repr_html_()
    assert plain(html) and html.count("<tr>") == 3
    first, second = (100 * one.scores.test.values["average"] for one in found[:2])
    spread = abs(first - second) / 2**0.5
    assert f"<td>erm</td><td>2</td><td>{(first + second) / 2:.1f} ± {spread:.1f}</td>" in html
    assert "EOd" not in html  # nowhere defined
    assert Records()._repr_html_() == "<p><strong>0 runs</strong></p>"


def test_a_trained_method_shows_its_last_epochs():
    splits = load("colored-digits")
    fitted = fit(build("erm", splits.info, net="mlp:hidden=4"), splits, Training(epochs=7, batch=32))
    html = fitted._repr_html_()
    assert plain(html) and "<strong>ERM</strong>" in html
    assert (
        f"{sum(p.numel() for p in fitted.method.net.parameters()):,} parameters; the weights of epoch 7 of 7." in html
    )
    assert html.count("<tr>") == 1 + 5 and f"<td>{fitted.history[-1]['loss']:.3g}</td>" in html
    assert f"<td>{fitted.history[-1]['test']['average']:.3g}</td>" in html
    bad = [fitted.history[0] | {"loss": math.nan}]
    assert "<th>loss</th>" not in Fitted(fitted.method, 1, bad)._repr_html_()


def test_many_rows_end_early():
    html = shown("t", [{"a": i} for i in range(40)])
    assert html.count("<tr>") == 31 and html.endswith("<p>… and 10 more</p>")
