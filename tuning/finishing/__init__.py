"""After the search: finalists, the best network, and the refit."""
