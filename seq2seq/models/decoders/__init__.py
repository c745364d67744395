"""Decoders: a Memory and the target so far to the next token."""
