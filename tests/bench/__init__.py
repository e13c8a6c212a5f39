"""The benchmark that ranks methods: `python -m tests.bench`."""
