"""The sampling loop: decisions, memory, solvers, and the record of what happened."""
