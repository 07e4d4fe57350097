"""An architecture, a data source and a metric for keras-cnns."""
