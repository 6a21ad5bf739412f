"""Methods that train on mixtures."""
