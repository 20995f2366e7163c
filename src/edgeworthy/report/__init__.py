"""Results as text, tables and pictures for people."""
