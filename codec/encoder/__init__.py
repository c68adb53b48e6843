"""What the format leaves free to an encoder: searches, and what errors are worth. No decoder needs it."""
