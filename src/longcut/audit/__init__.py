"""The audit: is there a shortcut in the data, how strong, who contradicts it, what would it cost?

Each check is a function in a file of its own that returns a :class:`~longcut.audit.base.Finding`, and a row of
``CHECKS``; :func:`audit` calls them in turn and says what they mean together.
"""

from __future__ import annotations

from longcut.audit.base import Check, Finding, View
from longcut.audit.checks import CHECKS
from longcut.audit.whole import Audit, audit

__all__ = ["CHECKS", "Audit", "Check", "Finding", "View", "audit"]
