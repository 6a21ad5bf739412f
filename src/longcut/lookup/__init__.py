"""A hundred labels that matter: whose attribute to look up first, what the answers say, and when to stop.

===================== ==============================================================================================
:mod:`.rules`         selection rules: pure functions of what is known about the samples
:mod:`.answers`       answers in files: read, checked, attached to data
:mod:`.rounds`        one round after the other: who is asked next, what is gained, when to stop
:mod:`.advice`        what to do with this data: nothing, methods without labels, look-ups, or other data
===================== ==============================================================================================
"""
