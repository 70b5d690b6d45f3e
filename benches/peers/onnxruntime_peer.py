"""ONNX Runtime as a peer of peers.py: a model, run when it is told to.

    python3 benches/peers/onnxruntime_peer.py MODEL.onnx INPUTS.npz THREADS OUTPUTS.npz

Writes a line of JSON once the model was loaded and run for the first time, then for each line of stdin runs as often as
that says and writes the nanoseconds of each run; at the end of stdin writes its peak memory as JSON, and the outputs to
OUTPUTS. `bgz run --paced` and `worker/` do the same. Settings are those of a user who sets the number of threads and
nothing else: one op after the other, every optimisation of the graph, threads that spin while they wait.
"""

import json
import sys
import time

import numpy as np
import onnxruntime as ort


def memory(field):
    """Bytes, where the system says."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))
    except (OSError, StopIteration):
        return None


def timed(action):
    start = time.perf_counter_ns()
    result = action()
    return result, time.perf_counter_ns() - start


def session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def say(line):
    print(line, flush=True)


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: onnxruntime_peer.py MODEL.onnx INPUTS.npz THREADS OUTPUTS.npz")
    path, inputs, threads, output = sys.argv[1:]
    with np.load(inputs, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    threads = int(threads)

    base = memory("VmRSS:")
    model, load = timed(lambda: session(path, threads))
    outputs, first = timed(lambda: model.run(None, inputs))
    ready = {"version": ort.__version__, "threads": threads, "base_bytes": base, "load_ns": load, "first_ns": first}
    say(json.dumps(ready))
    for line in iter(sys.stdin.readline, ""):
        times = []
        for _ in range(int(line)):
            outputs, ns = timed(lambda: model.run(None, inputs))
            times.append(ns)
        say(" ".join(map(str, times)))
    # Before the outputs, which take memory of their own.
    say(json.dumps({"peak_bytes": memory("VmHWM:")}))
    np.savez(output, **{str(i): array for i, array in enumerate(outputs)})


if __name__ == "__main__":
    main()
