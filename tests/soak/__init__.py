"""Many runs and many faults against real servers: `python -m tests.soak`."""
