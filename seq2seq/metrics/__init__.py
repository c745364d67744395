"""Corpus scores."""
