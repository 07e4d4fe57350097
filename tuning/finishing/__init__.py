"""What follows a search: finalists trained again, the winner trained on all images, what is kept of both."""
