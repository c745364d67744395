"""Encoders: source tokens to a Memory."""
