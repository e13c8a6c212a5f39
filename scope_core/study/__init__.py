"""Judging a run: fidelity, reports, calibration, clips."""
