"""The table of panels; another module adds to it by a dict of its own called ``PANELS``."""

from __future__ import annotations

from longcut.registry import Registry, required
from longcut.report import (
    analyses,
    audit,
    errors,
    explore,
    looks,
    negatives,
    pictures,
    samples,
    settings,
    stress,
    tables,
)
from longcut.report.base import Panel

__all__ = ["PANELS"]

PANELS: Registry[Panel] = Registry(
    "report panel",
    "PANELS",
    {
        "audit-verdict": Panel("audit", "", audit.opening, 0),
        "audit-evidence": Panel("audit", "", audit.evidence, 100),
        "audit-since": Panel("audit", "Against the baseline", audit.since, 150),
        "audit-checks": Panel("audit", "What was checked", audit.checks, 200),
        "audit-learning": Panel("audit", "How an ordinary model learns", audit.learning, 250),
        "audit-slices": Panel("audit", "Where an ordinary model errs", samples.slices, 275),
        "audit-suspects": Panel("audit", "Suspected samples", samples.suspects, 300),
        "audit-pairs": Panel("audit", "Contradicting pairs", samples.pairs, 400),
        "audit-map": Panel("audit", "Explore: how the biased model sees the data", explore.explore, 500),
        "audit-groups": Panel("audit", "Candidate groups", audit.groups, 600),
        "audit-settings": Panel("audit", "", audit.settings, 900),
        "audit-command": Panel("audit", "Make it again", audit.command, 1000),
        "stress": Panel("studies", "", stress.stress, 0),
        "data-sweeps": Panel("studies", "", analyses.data_sweeps, 100),
        "headline": Panel("study", "", tables.opening, 0),
        "bars": Panel("study", "", pictures.bars, 50),
        "methods": Panel("study", "Methods", tables.methods, 100),
        "against": Panel("study", "", tables.against, 150),
        "groups": Panel("study", "Groups", tables.groups, 200),
        "confusions": Panel("study", "What was taken for what", tables.confusions, 250),
        "predicted": Panel("study", "Predicted against true", errors.predicted, 260),
        "residuals": Panel("study", "Residuals", errors.residuals, 270),
        "training": Panel("study", "Training", pictures.training, 300),
        "sweeps": Panel("study", "", analyses.method_sweeps, 350),
        "samples": Panel("study", "What was trained on", pictures.samples, 400),
        "looks": Panel("study", "", looks.looks, 425),
        "mixtures": Panel("study", "", pictures.mixtures, 450),
        "partners": Panel("study", "Whom the methods chose as partners", analyses.partners, 500),
        "minority": Panel("study", "Whom the methods took for the minority", analyses.minority, 550),
        "unsure": Panel("study", "Whom the nets were unsure of", analyses.unsure, 575),
        "knowledge": Panel("study", "", analyses.knowledge, 600),
        "maps": Panel("study", "", pictures.maps, 650),
        "negatives": Panel("study", "Hard and easy negatives", negatives.negatives, 700),
        "settings": Panel("study", "", settings.settings, 900),
        "command": Panel("study", "Make it again", settings.command, 1000),
    },
    made=required(lambda row: isinstance(row, Panel), "a Panel"),
)
"""By name."""
