"""One run on several processes: each computes its rows of every batch, and all of them the same loss.

Every process runs the whole program with the same random numbers and sees the same, whole batch, so that samplers,
pools, partners, losses over a batch and memories of samples need to know of nothing. Only the stages of nets, where the
time goes, are computed by rows (:func:`by_rows`): each process takes its share of them, and what they say of it is
gathered. Going back, each process has the gradient of its own rows, and those of the parameters are summed. Both are
done by autograd, so that any loss, clipping, optimizer or second gradient meets the numbers that one process would
meet, but for the order in which sums are taken.
"""

from longcut.parallel.rows import by_rows
from longcut.parallel.team import Team, from_first, require_lockstep

__all__ = ["Team", "by_rows", "from_first", "require_lockstep"]
