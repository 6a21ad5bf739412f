"""Representations learned by contrast, from two views of each sample and no labels."""
