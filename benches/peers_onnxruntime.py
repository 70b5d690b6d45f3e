"""Measures ONNX Runtime on a model: time to make a session, and latency at given input shapes and thread counts.

    python3 -m pip install -r tests/fixtures/requirements.txt
    python3 benches/peers_onnxruntime.py models/fetched/minilm.onnx --shape input_ids=1x128 --threads 1 --threads 2

Every --shape names one or more inputs (`a=1x16,b=1x16`); an input that is not named takes the shape of the first that
is, where both have as many dims, and otherwise its own with each unknown dim as 1. Integer inputs named like a mask are
ones and others are 1; floats are small multiples of 1/16.
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def make_session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def parse_shape(text):
    shapes = {}
    for part in text.split(","):
        name, _, dims = part.rpartition("=")
        try:
            shapes[name] = [int(d) for d in dims.split("x")]
        except ValueError:
            name = ""
        if not name:
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME=1x128")
    return shapes


def inputs_of(session, shapes):
    known = {i.name for i in session.get_inputs()}
    unknown = sorted(set(shapes) - known)
    if unknown:
        sys.exit(f"error: no input named {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    first = next(iter(shapes.values()), None)
    inputs = {}
    for i in session.get_inputs():
        own = [d if isinstance(d, int) else 1 for d in i.shape]
        shape = shapes.get(i.name) or (first if first and len(first) == len(own) else own)
        dtype = DTYPES.get(i.type)
        if dtype is None:
            sys.exit(f"error: input {i.name} is a {i.type}, which this script does not fill")
        if dtype is np.float32:
            inputs[i.name] = ((np.arange(np.prod(shape)) % 33 - 16) / 16).reshape(shape).astype(dtype)
        else:
            inputs[i.name] = np.ones(shape, dtype)
    return inputs


def summary(times_ms):
    return {"min_ms": min(times_ms), "median_ms": statistics.median(times_ms), "runs": len(times_ms)}


def timed(action):
    start = time.perf_counter()
    result = action()
    return result, (time.perf_counter() - start) * 1e3


def measure_session(path, threads, repeat):
    times = []
    for _ in range(repeat):
        session, ms = timed(lambda: make_session(path, threads))
        times.append(ms)
        del session
    return summary(times)


def measure_latency(session, inputs, repeat, seconds):
    for _ in range(3):
        session.run(None, inputs)
    times = []
    end = time.perf_counter() + seconds
    while len(times) < repeat or time.perf_counter() < end:
        times.append(timed(lambda: session.run(None, inputs))[1])
    return summary(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("--shape", action="append", type=parse_shape, metavar="NAME=1x128[,NAME=..]", default=[])
    parser.add_argument("--threads", action="append", type=int, metavar="N", help="intra-op threads (default: 1)")
    parser.add_argument("--repeat", type=int, default=20, help="least number of runs at a shape (default: 20)")
    parser.add_argument("--seconds", type=float, default=2.0, help="least time at a shape (default: 2)")
    parser.add_argument("--sessions", type=int, default=7, help="number of sessions made (default: 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    records = []
    for threads in args.threads or [1]:
        made = measure_session(args.model, threads, args.sessions)
        records.append({"what": "session", "threads": threads, **made})
        session = make_session(args.model, threads)
        for shapes in args.shape or [{}]:
            inputs = inputs_of(session, shapes)
            what = ",".join(f"{name}={'x'.join(map(str, a.shape))}" for name, a in inputs.items())
            latency = measure_latency(session, inputs, args.repeat, args.seconds)
            records.append({"what": what, "threads": threads, **latency})

    if args.json:
        print(json.dumps({"onnxruntime": ort.__version__, "model": args.model, "records": records}))
        return
    print(f"onnxruntime {ort.__version__}")
    print(f"{'threads':>7} {'min ms':>9} {'median ms':>9} {'runs':>5}  what")
    for r in records:
        print(f"{r['threads']:7} {r['min_ms']:9.2f} {r['median_ms']:9.2f} {r['runs']:5}  {r['what']}")


if __name__ == "__main__":
    main()
