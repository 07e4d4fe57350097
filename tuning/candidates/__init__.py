"""Search spaces: their ranges, their candidates, and limits on the costs of candidates."""
