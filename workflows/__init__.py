"""Example graphs, and `python -m workflows`, which runs one of them without a browser."""
