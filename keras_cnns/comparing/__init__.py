"""Compare runs: rank them, test their differences, plot them and write them as a page."""
