"""Answers of networks for other programs: as MLflow models, and on a page."""
