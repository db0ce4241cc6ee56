"""What other training engines load of percbal. Nothing here is imported by the rest of it."""
