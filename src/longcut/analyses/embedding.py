"""An embedding in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longcut.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["tsne"]


def tsne(embedding: NDArray[Any], *, seed: int = 0, perplexity: float = 30) -> NDArray[Any]:
    """Places in the plane that keep neighbours together, by scikit-learn's t-SNE from a PCA start.

    Args:
        embedding: ``(n, d)``, with at least four rows.
        seed: of the little that is drawn at random.
        perplexity: about how many neighbours count; lowered to a third of the others where there are few points.

    Returns:
        float32 ``(n, 2)``. Directions and distances between groups mean nothing.

    Raises:
        UserError: when there are fewer than four points, or a value is not finite.

    >>> import numpy as np
    >>> tsne(np.random.default_rng(0).normal(size=(20, 5))).shape
    (20, 2)
    """
    import numpy as np
    from sklearn.manifold import TSNE

    points = np.asarray(embedding)
    if points.ndim != 2 or len(points) < 4:
        raise UserError(f"an embedding of shape {points.shape} is no map; give (n, d) with at least 4 rows.")
    if not np.isfinite(points).all():
        raise UserError("the embedding holds a value that is not finite (NaN or infinity); leave such samples out.")
    perplexity = min(perplexity, (len(points) - 1) / 3)
    return TSNE(
        perplexity=perplexity, init="pca" if points.shape[1] > 1 else "random", random_state=seed
    ).fit_transform(points)
