"""Writes rows of real pixels, for `bgz experiments --pixels`, to models/fetched/pixels.npz.

    python3 -m pip install -r models/calibration-requirements.txt
    python3 models/pixels.py

200 cuts of 64 x 64 pixels in three colours, 12288 values from 0 to 1 each: 25 of each of eight colour pictures that
come with scikit-image, in a grid of 5 x 5 from corner to corner. Those of one picture are alike, and overlap where it
is small.
"""

from pathlib import Path

import numpy as np

FETCHED = Path(__file__).resolve().parent / "fetched"
PICTURES = ["astronaut", "chelsea", "coffee", "rocket"]
PICTURES += ["hubble_deep_field", "stereo_motorcycle", "retina", "immunohistochemistry"]
SIZE, GRID = 64, 5


def cuts(image):
    """Squares of the picture, row by row."""
    tops, lefts = (np.linspace(0, side - SIZE, GRID).astype(int) for side in image.shape[:2])
    return [image[top : top + SIZE, left : left + SIZE] for top in tops for left in lefts]


def main():
    from skimage import data

    rows = []
    for name in PICTURES:
        image = getattr(data, name)()
        # Of a stereo pair, the left one.
        image = image[0] if isinstance(image, tuple) else image
        rows += [cut.reshape(-1) for cut in cuts(image[:, :, :3])]
    pixels = np.stack(rows).astype(np.float32) / 255
    FETCHED.mkdir(exist_ok=True)
    np.savez_compressed(FETCHED / "pixels.npz", pixels=pixels)
    print(f"wrote models/fetched/pixels.npz: {pixels.shape[0]} rows of {pixels.shape[1]}")


if __name__ == "__main__":
    main()
