"""What results and long calls show: progress in terminals, notebooks and logs, and results as text and as HTML."""
