"""Noise levels that models of the Wan family were released with: an even table, shifted, of which the network is told
whole timesteps."""

import numpy as np

from .ar import ARSchedule, Family

LEVELS = 1000
"""Timesteps that a network knows."""
HIGHEST = float(np.float32(0.999))


def shifted(steps: int, shift: float, high: float = HIGHEST, low: float = 0.0) -> np.ndarray:
    """Noise levels [steps] from `high` down towards `low`, moved towards 1 by `shift`. The order of the arithmetic is
    the released one, because a last digit decides where `timesteps` cuts."""
    sigma = np.linspace(high, low, steps + 1)[:-1]
    return shift * sigma / (1 + (shift - 1) * sigma)


def timesteps(sigma: np.ndarray) -> np.ndarray:
    """Model timesteps of noise levels; the release truncates them to whole numbers, with 999 for not-started frames."""
    return np.minimum(np.floor(LEVELS * sigma), LEVELS - 1)


class WholeTimesteps(Family):
    """A family whose network is told whole timesteps below LEVELS."""

    def given(self, levels: np.ndarray) -> np.ndarray:
        """The first of them moved below 1, which the network does not know."""
        if levels[0] > 1 - 1e-6:
            levels[0] = max(1 - 1e-4, (1 + levels[1]) / 2)
        return levels

    def single(self, levels: np.ndarray) -> np.ndarray:
        """By a last digit more or less where plain rounding would cross a whole timestep."""
        rounded = levels.astype(np.float32)
        moved = np.floor(LEVELS * rounded.astype(float)) - np.floor(LEVELS * levels)
        return np.where(moved == 0, rounded, np.nextafter(rounded, -np.sign(moved).astype(np.float32)))

    def levels(self) -> np.ndarray:
        """Every timestep."""
        return np.arange(LEVELS) / LEVELS

    def place(self, schedule: ARSchedule) -> tuple[np.ndarray, bool]:
        return timesteps(schedule.sigmas[:-1]).astype(int), True
