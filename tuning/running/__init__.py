"""Running trials: the cluster, worker processes, the journal of a sweep, and logging to MLflow."""
