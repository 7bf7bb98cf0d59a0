"""Where to look for faces that are small in their image. In: the image's size. Out: overlapping squares."""

import math

_WHOLE = 1280  # larger side of an image that is one tile: one more call for most frames of a video
_FINEST = 800  # side of the finest tiles, pixels
_FINER = 4  # from one level of tiles to the next, at most
_STEP = 0.8  # of a tile's side, at most, from one tile to the next


def tiles(width: int, height: int, turn: int | None = None) -> list[tuple[int, int, int]]:
    """[(side, x, y)]: the sides and the corners of overlapping squares, the largest first.

    The squares of each side cover the image, and may reach beyond it. A small image is one square. The largest squares
    of others are as high as the image, so a frame of 1920 x 1080 has two; an image of 12 megapixels has smaller ones
    too.

    turn: number of a frame of a video, which gets the largest squares and one of each smaller side: another in the
    next frame, until each had its turn. None: all squares.
    """
    longer, shorter = max(width, height), min(width, height)
    sides = [longer if longer <= _WHOLE else max(shorter, _FINEST)]
    while sides[-1] > _WHOLE:
        sides.append(max(_FINEST, sides[-1] // _FINER))
    out = []
    for side in sides:
        squares = [(side, x, y) for y in _starts(height, side) for x in _starts(width, side)]
        out += squares if turn is None or side == sides[0] else [squares[turn % len(squares)]]
    return out


def _starts(length: int, side: int) -> list[int]:
    steps = max(0, math.ceil((length - side) / (_STEP * side)))
    return [round(number * (length - side) / steps) for number in range(steps + 1)] if steps else [0]
