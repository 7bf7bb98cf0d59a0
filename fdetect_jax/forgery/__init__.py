"""forgery."""
