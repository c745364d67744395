"""Search for the best output; it sees only Model.start and Model.step."""
