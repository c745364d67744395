"""Kinds of noise."""
