"""numpy's side of benches/elementwise.rs: nanoseconds per element, one thread, best of many runs.

Usage: python benches/elementwise_numpy.py
"""

import time

import numpy as np


def nanoseconds(f, n):
    """Best time of f() per element of n, over half a second."""
    for _ in range(3):
        f()
    best, start = float("inf"), time.perf_counter()
    repeat = max(1, (1 << 18) // n)
    while time.perf_counter() - start < 0.5:
        t = time.perf_counter()
        for _ in range(repeat):
            f()
        best = min(best, (time.perf_counter() - t) / repeat)
    return best * 1e9 / n


def chain(x):
    y = np.tanh(np.floor(x))
    return np.round(np.exp(y) * np.float32(0.5) + np.float32(1.0))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x):
    d = x - x.mean(axis=-1, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=-1, keepdims=True) + np.float32(1e-5))


def values(n):
    return ((np.arange(n, dtype=np.int64) * 7919 % 4001) / 500.0 - 4.0).astype(np.float32)


def main():
    print(f"numpy {np.__version__}")
    for n in (1 << 14, 1 << 20):
        x = values(n)
        out = np.empty_like(x)
        cases = {
            "copy": lambda: np.copyto(out, x),
            "floor": lambda: np.floor(x, out=out),
            "exp": lambda: np.exp(x, out=out),
            "tanh": lambda: np.tanh(x, out=out),
            "chain": lambda: chain(x),
            "softmax over 256": lambda: softmax(x.reshape(-1, 256)),
        }
        for name, f in cases.items():
            print(f"{name:20} {n:8} {nanoseconds(f, n):8.3f}")
    for rows in (128, 2048):
        x = values(rows * 384).reshape(rows, 384)
        print(f"{'LayerNorm over 384':20} {rows * 384:8} {nanoseconds(lambda: layer_norm(x), x.size):8.3f}")


if __name__ == "__main__":
    main()
