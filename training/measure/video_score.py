"""One enlarged video against its truth, frame by frame and plane to plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.footage import Plane, Planes, planes_to_rgb
from training.measure.flicker import Motion
from training.measure.legibility import Legibility, legibility
from training.measure.metrics import Lpips, ciede2000, crop_border, psnr, ssim
from training.scene.lettering import TextBox


@dataclass(frozen=True)
class VideoScore:
    """Means over the frames.

    Attributes:
        psnr_y, ssim_y: of luma with a border of `scale` pixels cut off; dB and 0 to 1.
        ciede2000: colour difference of 8x8 means to the truth's; 1 is about just noticeable.
        colour_shift: the same to those of bicubic of the coded clip: what the method itself changed.
        warping: warping error, samples in 0 to 1; None for a single frame.
        tof: difference of the optical flow to the truth's, in pixels; None for a single frame.
        lpips: None where its weights cannot be had.
        plate, overlay: characters read by the template matcher; None without known texts.
        overlay_flicker: in the burnt-in text, mean absolute difference of the change from frame to frame to the
            truth's, of 255; None for a single frame or without it.
    """

    psnr_y: float
    ssim_y: float
    ciede2000: float
    colour_shift: float
    warping: float | None
    tof: float | None
    lpips: float | None
    plate: Legibility | None
    overlay: Legibility | None
    overlay_flicker: float | None


@dataclass(frozen=True)
class TruthStep:
    """A truth frame, and what all methods share about it; `before` is the luma of the frame before."""

    before: Plane | None
    planes: Planes
    rgb: Plane
    motion: Motion | None
    texts: Sequence[TextBox]

    @classmethod
    def after(cls, before: TruthStep | None, planes: Planes, texts: Sequence[TextBox] = ()) -> TruthStep:
        """The step from the frame before (None for the first) to `planes`."""
        last = None if before is None else before.planes[0]
        motion = None if last is None else Motion.between(last, planes[0])
        return cls(last, planes, planes_to_rgb(planes), motion, texts)


@dataclass
class Meter:
    """Measures one method's frames in order.

    Args:
        border: luma pixels that PSNR and SSIM leave out at each side.
        lpips: the network, or the reason why there is none.
    """

    border: int
    lpips: Lpips
    _values: dict[str, list[float]] = field(default_factory=dict)
    _texts: dict[str, Legibility] = field(default_factory=dict)
    _before: Plane | None = None

    def add(self, planes: Planes, truth: TruthStep, plain: Plane) -> None:
        """Measure the next frame; `plain` is the RGB of bicubic of the coded clip."""
        luma, true_luma = (crop_border(p[0], self.border) for p in (planes, truth.planes))
        rgb = planes_to_rgb(planes)
        self._note("psnr_y", psnr(luma, true_luma, 255))
        self._note("ssim_y", ssim(luma, true_luma, 255))
        self._note("ciede2000", ciede2000(rgb, truth.rgb))
        self._note("colour_shift", ciede2000(rgb, plain))
        distance = self.lpips(rgb, truth.rgb)
        if distance is not None:
            self._note("lpips", distance)
        if truth.motion is not None and self._before is not None:
            self._note("warping", truth.motion.warping_error(self._before, planes[0]))
            self._note("tof", truth.motion.flow_error(self._before, planes[0]))
        for text in truth.texts:
            self._texts[text.kind] = self._texts.get(text.kind, Legibility()) + legibility(planes[0], [text])
            if text.kind == "overlay" and truth.before is not None and self._before is not None:
                ours, true = _change(self._before, planes[0], text), _change(truth.before, truth.planes[0], text)
                self._note("overlay_flicker", float(np.abs(ours - true).mean()))
        self._before = planes[0]

    def _note(self, name: str, value: float) -> None:
        self._values.setdefault(name, []).append(value)

    def score(self) -> VideoScore:
        """The means of what was measured; at least one frame must have been."""
        return VideoScore(
            psnr_y=float(np.mean(self._values["psnr_y"])),
            ssim_y=float(np.mean(self._values["ssim_y"])),
            ciede2000=float(np.mean(self._values["ciede2000"])),
            colour_shift=float(np.mean(self._values["colour_shift"])),
            warping=self._mean("warping"),
            tof=self._mean("tof"),
            lpips=self._mean("lpips"),
            plate=self._texts.get("plate"),
            overlay=self._texts.get("overlay"),
            overlay_flicker=self._mean("overlay_flicker"),
        )

    def _mean(self, name: str) -> float | None:
        return float(np.mean(self._values[name])) if name in self._values else None


def _change(before: Plane, after: Plane, text: TextBox) -> NDArray[np.float32]:
    """How much each sample of a text's box changed."""
    left, top, right, bottom = (round(edge) for edge in text.box)
    return after[top:bottom, left:right].astype(np.float32) - before[top:bottom, left:right]
