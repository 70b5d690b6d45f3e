"""Writes inputs that attention tables are learned from and measured on, to models/fetched/<model>.calibration.npz.

    models/fetch.sh minilm minilm_tokenizer vit_s_focus
    python3 -m pip install -r models/calibration-requirements.txt
    python3 models/calibration.py

minilm: windows of 256 tokens of English text, the help topics that come with CPython (pydoc_data.topics).
vit_s_focus: 224 x 224 cuts of the photographs that come with scikit-image, one after the other, so that those held out
are of other photographs than those learned from.
"""

import argparse
from pathlib import Path

import numpy as np

FETCHED = Path(__file__).resolve().parent / "fetched"
PHOTOGRAPHS = ["astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "stereo_motorcycle", "grass", "brick"]
# Of ImageNet, which the model was trained on.
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def minilm(windows, tokens):
    """Text without padding; windows of one length follow each other."""
    from pydoc_data.topics import topics
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(FETCHED / "minilm.tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    text = "\n\n".join(topics[name] for name in sorted(topics))
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
    if len(ids) < windows * tokens:
        raise SystemExit(f"error: {len(ids)} tokens of text for {windows} windows of {tokens}")
    # From all over the text.
    starts = np.linspace(0, len(ids) - tokens, windows).astype(int)
    ids = np.stack([ids[start : start + tokens] for start in starts])
    # [CLS] and [SEP], as the model was trained.
    ids[:, 0], ids[:, -1] = 101, 102
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def vit_s_focus(cuts, size):
    """Cuts of each photograph from its upper left to its lower right, normalised per channel."""
    from skimage import data

    images = []
    for name in PHOTOGRAPHS:
        image = getattr(data, name)()
        image = image[0] if isinstance(image, tuple) else image
        image = np.stack([image] * 3, axis=2) if image.ndim == 2 else image[:, :, :3]
        for cut in range(cuts):
            top, left = ((side - size) * cut // max(cuts - 1, 1) for side in image.shape[:2])
            part = image[top : top + size, left : left + size].astype(np.float32) / 255
            images.append(((part - MEAN) / DEVIATION).transpose(2, 0, 1))
    return {"input_image": np.stack(images).astype(np.float32)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", choices=[[], "minilm", "vit_s_focus"], help="default: both")
    names = parser.parse_args().model or ["minilm", "vit_s_focus"]
    made = {"minilm": lambda: minilm(40, 256), "vit_s_focus": lambda: vit_s_focus(4, 224)}
    for name in names:
        path = FETCHED / f"{name}.calibration.npz"
        np.savez_compressed(path, **made[name]())
        print(f"{name}: wrote models/fetched/{path.name}")


if __name__ == "__main__":
    main()
