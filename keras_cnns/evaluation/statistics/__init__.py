"""Statistics of predictions: pure functions of arrays, which know nothing of networks and runs."""
