"""How good written texts are."""
