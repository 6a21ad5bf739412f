"""Methods that keep what the net says from depending on a sensitive attribute."""
