"""Parts of forgeries that put one face on another: the donor's history, and blending by gradients."""

import cv2
import numpy as np

_AMOUNT, _SIGMA = (0.3, 1.0), (0.4, 1.6)  # of sharpening or softening
_QUALITY = (40, 95)  # of its JPEG
_NOTHING = 1e-3  # a smaller share of the donor is none


def changed(rng: np.random.Generator, image: np.ndarray, share: float) -> np.ndarray:
    """A donor (S, S, 3) uint8 as another camera, or another step of editing, left it: sharpened or softened with
    probability ``share``, and compressed with the same probability."""
    if rng.random() < share:
        blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(*_SIGMA))
        amount = rng.uniform(*_AMOUNT) * rng.choice([-1.0, 1.0])  # sharper, or softer
        image = cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)
    if rng.random() < share:
        quality = int(rng.integers(*_QUALITY))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image


def by_gradients(image: np.ndarray, part: np.ndarray, mask: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The part in the image with its gradients kept (Perez et al., 2003, as ``cv2.seamlessClone``).

    image, part, otherwise: (S, S, 3) uint8. mask: (S, S) in [0, 1], of the part; ``otherwise`` is returned where it
    reaches the image's edge.
    """
    inside = (mask > 0.5).astype(np.uint8)
    inside[[0, -1]] = inside[:, [0, -1]] = 0
    if not inside.any():
        return otherwise
    x, y, width, height = cv2.boundingRect(inside)
    centre = (x + width // 2, y + height // 2)  # where cv2 puts the middle of the mask's box
    try:
        cloned = cv2.seamlessClone(part, image, 255 * inside, centre, cv2.NORMAL_CLONE)
    except cv2.error:
        return otherwise
    return np.where(mask[..., None] > _NOTHING, cloned, image)  # it rounds the rest of the box anew
