"""The outcome of a sweep: hyperparameter importance, plots and tables."""
