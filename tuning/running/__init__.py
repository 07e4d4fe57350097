"""How trials run and what is known of them: machines, workers, the journal, and its delivery to MLflow."""
