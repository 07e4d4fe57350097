"""What a sweep says of its settings: importance, pictures, files."""
