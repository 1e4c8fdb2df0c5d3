"""The pinhole camera of the synthetic drive.

World coordinates are metres: x to the right of our lane's middle, y up from the road, z ahead of the camera.
The camera looks straight ahead and never turns, so a ground line is an image row and a wall line a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HAZE = (196.0, 206.0, 217.0)  # RGB, 0 to 255
VISIBILITY = 260.0  # metres after which 1/e of a colour is left


@dataclass(frozen=True)
class Camera:
    """A camera that makes pictures of width x height pixels."""

    width: int
    height: int
    eye: float = 1.32  # metres above the road

    @property
    def focal(self) -> float:
        """Focal length in pixels (a horizontal field of view of about 63 degrees)."""
        return 0.82 * self.width

    @property
    def centre(self) -> float:
        """The column of the vanishing point."""
        return self.width / 2

    @property
    def horizon(self) -> float:
        """The row of the vanishing point."""
        return 0.45 * self.height

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """The (column, row) at which the point (x, y, z) is seen; pixel (0, 0) covers 0 to 1."""
        return self.centre + self.focal * x / z, self.horizon + self.focal * (self.eye - y) / z


def transmittance(z: Floats | float) -> Floats:
    """How much of a colour at depth z reaches the camera, 0 to 1; the rest is haze."""
    return np.asarray(np.exp(-np.asarray(z) / VISIBILITY), np.float32)
