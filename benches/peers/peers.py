"""Measures this project beside its peers: the same model file, the same inputs, the same number of threads, in turn.

From a fresh clone, on Linux:

    models/fetch.sh
    python3 -m pip install -r benches/peers/requirements.txt
    cargo build --release
    cargo build --release --manifest-path benches/peers/worker/Cargo.toml
    python3 benches/peers/peers.py

    python3 benches/peers/peers.py --models minilm --threads 2 --peers bgz onnxruntime --rounds 31
    python3 benches/peers/peers.py --models vit_s_focus --shapes 1x3x224x224 4x3x224x224
    python3 benches/peers/peers.py --record intel-xeon-cascade-lake

Peers are onnxruntime, rten, tract and `bgz`. A peer that is not there, or that cannot run a model, is left
out, and it is said why. So is one whose outputs are not those of ONNX Runtime.

Each peer is a process of its own. It loads the model and runs it once, which is its start-up, and from then on runs
when it is told to. A round takes the peers in an order that changes with each round. A turn of a peer is one run that
is not counted, since others had the caches, and then runs one after the other for as long as --turn says, whose median
counts. A turn begins when all threads of all peers sleep: the threads of some spin for a while after a run. Ratios are
taken within a round.

All pools have as many threads as --threads says: what has no option is told by its environment variable. Where a peer
keeps more CPUs busy than that all the same, a note says so.
"""

import argparse
import datetime
import json
import math
import os
import random
import re
import select
import shlex
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

try:
    import numpy as np

    # The inputs of tests and of the bench have one maker.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
    from make_fixtures import MODELS as FIXTURES
except ImportError as e:
    sys.exit(f"error: {e}; python3 -m pip install -r benches/peers/requirements.txt gets what is needed")

# The shapes of a model, as arguments of its function in make_fixtures.py. khmersm's batch is fixed at 1.
SHAPES = {
    "minilm": [(1, 16), (1, 128), (8, 128), (1, 512)],
    "vit_s_focus": [(1, 3, 224, 224), (4, 3, 224, 224)],
    "khmersm": [(1, 16), (1, 40)],
    "magika": [(1, 2048), (3, 2048)],
    "char_lm": [(1, 16), (1, 64), (1, 256)],
}
REFERENCE = "onnxruntime"
PEERS = [REFERENCE, "rten", "tract", "bgz"]

# How far from the reference an output may be: rounding, and not another result.
ATOL, RTOL = 1e-3, 1e-3

# A run that takes this long is not repeated more than has to be.
SLOW_NS = 1_000_000_000
SLOW_ROUNDS = 3

# Threads that spin longer than this between runs are not waited for.
PATIENCE_S = 2.0

# How many times as many CPUs as threads may be busy before it is worth a note.
BUSY = 1.15


class Left(Exception):
    """Why a peer is left out."""


def command(peer, args, model, inputs, threads, output):
    """The process of a peer."""
    if peer == REFERENCE:
        return [sys.executable, str(HERE / "onnxruntime_peer.py"), model, inputs, str(threads), output]
    if peer in ("rten", "tract"):
        return [program(args.worker, "--worker"), peer, model, inputs, str(threads), output]
    run = ["run", model, "--paced", "--inputs", inputs, "--output", output, "--threads", str(threads)]
    return [program(args.bgz, "--bgz"), *run]


def program(path, option):
    if not path.is_file():
        raise Left(f"there is no {path}: build it as {Path(__file__).name} says, or name it by {option}")
    return str(path)


def environment(threads):
    """For pools that have no other way to be told: rten's for packing, NumPy's."""
    names = ["RAYON_NUM_THREADS", "RTEN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    return {**os.environ, **{name: str(threads) for name in names}}


class Process:
    """A peer that has loaded the model and run it once."""

    def __init__(self, peer, args, model, inputs, threads, folder):
        self.peer = peer
        self.output = folder / f"{peer}.npz"
        self.output.unlink(missing_ok=True)
        self.timeout = args.timeout
        self.errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
        argv = command(peer, args, str(model), str(inputs), threads, str(self.output))
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=environment(threads)
        )
        try:
            self.ready = self.object()
        except Left:
            self.kill()
            raise

    def line(self):
        """What it says next. It never says more than one line unasked, so nothing of one is left in a buffer."""
        if not select.select([self.process.stdout], [], [], self.timeout)[0]:
            raise Left(f"nothing for {self.timeout:g} s (--timeout)")
        line = self.process.stdout.readline()
        if not line:
            raise Left(self.reason())
        return line.decode()

    def object(self):
        line = self.line()
        try:
            return json.loads(line)
        except ValueError:
            raise Left(f"said {line.strip()!r}") from None

    def reason(self):
        """Of an end before time, from what it wrote to stderr."""
        self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip() and not line.startswith("note: ")]
        text = " ".join(lines[-3:]) or f"exit code {self.process.returncode}"
        return text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"

    def runs(self, count):
        """Runs `count` times: nanoseconds of each, and how many CPUs were kept busy."""
        before, start = self.cpu_ns(), time.perf_counter_ns()
        try:
            self.process.stdin.write(f"{count}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Left(self.reason()) from None
        times = [int(t) for t in self.line().split()]
        wall, after = time.perf_counter_ns() - start, self.cpu_ns()
        busy = (after - before) / wall if before is not None and after is not None else None
        return times, busy

    def tasks(self, file):
        """Of every thread, the file under /proc; nothing where there is no such folder."""
        texts = []
        try:
            for task in os.listdir(f"/proc/{self.process.pid}/task"):
                try:
                    texts.append(Path(f"/proc/{self.process.pid}/task/{task}/{file}").read_text())
                except OSError:
                    pass
        except OSError:
            pass
        return texts

    def cpu_ns(self):
        texts = self.tasks("schedstat")
        return sum(int(text.split()[0]) for text in texts) if texts else None

    def asleep(self):
        return not any(text.rpartition(")")[2].split()[0] == "R" for text in self.tasks("stat"))

    def finish(self):
        """Ends it: its peak memory, its outputs."""
        self.process.stdin.close()
        peak = self.object()["peak_bytes"]
        if self.process.wait() != 0:
            raise Left(self.reason())
        with np.load(self.output, allow_pickle=False) as arrays:
            return peak, [arrays[name] for name in arrays.files]

    def kill(self):
        self.process.kill()
        self.process.wait()


def settle(processes):
    """Waits until no thread of any peer runs."""
    end = time.monotonic() + PATIENCE_S
    while not all(p.asleep() for p in processes):
        if time.monotonic() > end:
            return
        time.sleep(0.001)


class Result:
    """What is known of a peer in one row."""

    def __init__(self):
        self.starts = []  # (load, first run), ns
        self.turns = {}  # round: median of its runs, ns
        self.busy = []
        self.peak = self.base = self.version = self.outputs = None

    def median_ns(self):
        return statistics.median(self.turns.values())


def measure(args, peers, model, inputs, threads, folder, say):
    """Results by peer, and why others are left out."""
    results, left, processes = {}, {}, {}

    def drop(peer, reason):
        # A record has nothing of this machine's folders.
        left[peer] = str(reason).replace(f"{ROOT}/", "").replace(f"{folder}/", "")
        results.pop(peer, None)
        if peer in processes:
            processes.pop(peer).kill()

    def start(peer):
        say(f"starting {peer}")
        process = Process(peer, args, model, inputs, threads, folder)
        result = results.setdefault(peer, Result())
        result.starts.append((process.ready["load_ns"], process.ready["first_ns"]))
        result.base, result.version = process.ready["base_bytes"], process.ready["version"]
        return process

    try:
        # Start-ups are alone on the machine: a process that is told nothing more ends.
        for number in range(args.starts - 1):
            for peer in shuffled(peers, number):
                if peer in left or peer in results and slow(results[peer]):
                    continue
                try:
                    start(peer).finish()
                except Left as e:
                    drop(peer, e)
        for peer in peers:
            if peer not in left:
                try:
                    processes[peer] = start(peer)
                    settle(processes.values())
                except Left as e:
                    drop(peer, e)

        counts = {}
        for number in range(-1, args.rounds):
            for peer in shuffled(processes, number):
                result = results[peer]
                if number >= SLOW_ROUNDS and slow(result):
                    continue
                say(f"round {number + 1} of {args.rounds}: {peer}")
                try:
                    settle(processes.values())
                    times, busy = processes[peer].runs(1 + counts.get(peer, 1))
                except Left as e:
                    drop(peer, e)
                    continue
                if number < 0:
                    # A round that only shows how many runs a turn has.
                    counts[peer] = max(1, min(100, math.ceil(args.turn * 1e6 / max(times[-1], 1))))
                    continue
                result.turns[number] = statistics.median(times[1:])
                if busy is not None:
                    result.busy.append(busy)
        for peer in list(processes):
            try:
                results[peer].peak, results[peer].outputs = processes[peer].finish()
                processes.pop(peer)
            except Left as e:
                drop(peer, e)
    finally:
        for process in processes.values():
            process.kill()
    return results, left


def shuffled(peers, number):
    """The same order in every bench of the same peers, another in every round."""
    peers = list(peers)
    random.Random(number).shuffle(peers)
    return peers


def slow(result):
    return result.starts[0][1] > SLOW_NS


def difference(outputs, expected):
    """The greatest absolute one; raises Left where it is more than rounding."""
    if len(outputs) != len(expected):
        raise Left(f"makes {len(outputs)} outputs where {REFERENCE} makes {len(expected)}")
    most = 0.0
    for number, (a, b) in enumerate(zip(outputs, expected)):
        if a.shape != b.shape:
            raise Left(f"output {number} has shape {a.shape} where {REFERENCE}'s has {b.shape}")
        a, b = a.astype(np.float64), b.astype(np.float64)
        far = np.abs(a - b)
        if not (far <= ATOL + RTOL * np.abs(b)).all():
            raise Left(f"output {number} differs from {REFERENCE}'s by up to {far.max():.3g}")
        most = max(most, far.max(initial=0.0))
    return most


def agree(results, left):
    """Drops peers with other outputs; differences of the rest."""
    if REFERENCE not in results:
        return {}
    differences = {}
    for peer in [p for p in results if p != REFERENCE]:
        try:
            differences[peer] = difference(results[peer].outputs, results[REFERENCE].outputs)
        except Left as e:
            left[peer] = str(e)
            del results[peer]
    return differences


def ms(ns):
    value = ns / 1e6
    return f"{value:.{3 if value < 1 else 2 if value < 100 else 1}f}"


def ratio(result, reference):
    """How many times the speed of the reference: the median of rounds, and the quartiles."""
    values = sorted(reference.turns[r] / result.turns[r] for r in result.turns if r in reference.turns)
    if not values:
        return "-"
    text = f"{statistics.median(values):.2f}"
    if len(values) < 4:
        return text
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{text} ({low:.2f} - {high:.2f})"


def table(head, rows, left=2):
    """Markdown, the first `left` columns to the left."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return f"| {' | '.join(cells)} |"

    rule = [("-" * w if i < left else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def cells(peers, results, make):
    return [make(results[p]) if p in results else "-" for p in peers]


def report(model, peers, rows):
    """A section: three tables, and what has to be said of them."""
    peers = [p for p in peers if any(p in results for _, _, results, _, _ in rows)]
    compared = [p for p in peers if p != REFERENCE] if REFERENCE in peers else []
    latency, starts, memory = [], [], []
    for shape, threads, results, _, _ in rows:
        row = [shape, str(threads)]
        reference = results.get(REFERENCE)
        for p in peers:
            row.extend(cells([p], results, lambda r: f"{ms(r.median_ns())} ({ms(min(r.turns.values()))})"))
            if p in compared:
                row.append(ratio(results[p], reference) if p in results and reference else "-")
        latency.append(row)

        def start(r):
            load, first = (statistics.median(column) for column in zip(*r.starts))
            return f"{ms(load)} + {ms(first)}"

        def peak(r):
            if r.peak is None:
                return "?"
            return f"{r.peak / 1e6:.0f}" + (f" ({(r.peak - r.base) / 1e6:.0f})" if r.base is not None else "")

        starts.append([shape, str(threads), *cells(peers, results, start)])
        memory.append([shape, str(threads), *cells(peers, results, peak)])
    head = ["shape", "threads"]
    latency_head = head + [c for p in peers for c in ([p, "x"] if p in compared else [p])]
    rounds = sorted({len(r.turns) for _, _, results, _, _ in rows for r in results.values()})
    of = f"{rounds[-1]} rounds" if rounds else "no round"
    if len(rounds) > 1:
        of += f" ({rounds[0]} of what is slow)"
    x = f"; x: times the speed of {REFERENCE}, median (quartiles) of rounds" if compared else ""
    parts = [
        f"### {model}",
        f"Latency, ms, median (minimum) of {of}{x}",
        table(latency_head, latency),
        "Start-up, ms: load + first run",
        table(head + peers, starts),
        "Peak memory, MB (of that, what came after the program itself had started)",
        table(head + peers, memory),
    ]
    notes = said(rows)
    return "\n\n".join(parts + (["\n".join(f"- {n}" for n in notes)] if notes else []))


def said(rows):
    notes, reasons, most = [], {}, {}
    for shape, threads, results, left, differences in rows:
        for peer, reason in left.items():
            reasons.setdefault((peer, reason), []).append(f"{shape} on {threads}")
        for peer, d in differences.items():
            most[peer] = max(most.get(peer, 0.0), d)
        for peer, r in results.items():
            busy = statistics.median(r.busy) if r.busy else 0
            if busy > threads * BUSY:
                notes.append(f"{peer} kept {busy:.1f} CPUs busy at {shape} where it was given {threads} threads")
    for (peer, reason), where in reasons.items():
        everywhere = len(where) == len(rows)
        notes.append(f"{peer} is left out{'' if everywhere else ' at ' + ', '.join(where)}: {reason}")
    if most:
        each = ", ".join(f"{peer} {d:.1e}" if d else f"{peer} 0" for peer, d in most.items())
        notes.append(f"Greatest difference of an output from {REFERENCE}'s: {each}")
    return notes


def output_of(*argv):
    try:
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown CPU"
    name = re.search(r"^model name\s*: (.*)$", text, re.M)
    flags = set((re.search(r"^flags\s*: (.*)$", text, re.M) or [""] * 2)[1].split())
    known = [("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_vnni", "VNNI"), ("avx512_vbmi", "VBMI")]
    has = ", ".join(label for flag, label in known if flag in flags)
    count = len(os.sched_getaffinity(0))
    return f"{' '.join(name[1].split()) if name else 'unknown CPU'}, {count} CPUs{', ' + has if has else ''}"


def load_of_machine():
    return f"{os.getloadavg()[0]:.2f}"


HOW = f"""\
Inputs are those of tests/fixtures/make_fixtures.py. Every peer is a process of its own, and they run in turn; every
pool has the threads of the row. rten packs its weights ahead; tract is optimised for the shapes of the row, and decides
by itself what of a model more than one thread does. The program that loads the model is Python with NumPy for
{REFERENCE}, which takes memory of its own."""


def about(versions, loads):
    """What was measured, where and how."""
    commit = output_of("git", "rev-parse", "--short", "HEAD")
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no")
    source = f" (commit {commit}{' with changes' if changed else ''})" if commit else ""
    each = [f"{p} {v}{source if p == 'bgz' else ''}" for p, v in versions.items()]
    rustc = output_of("rustc", "--version")
    loads = f"Load of the machine {loads[0]} before and {loads[1]} after."
    facts = f"{cpu()}{'; ' + rustc if rustc else ''}. {loads} {'; '.join(each)}."
    paragraphs = "\n\n".join(textwrap.fill(text, 120) for text in (facts, HOW))
    return f"```\n{asked()}\n```\n\n{paragraphs}"


def asked():
    """The command line, without what is particular to this machine or to keeping the result."""
    words, out = iter(sys.argv[1:]), []
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in ("--bgz", "--worker", "--record"):
            out.append(word)
        elif not equals:
            next(words, None)
    return shlex.join(["python3", "benches/peers/peers.py", *out])


def record(name, text):
    """Adds the text to the record of this day; makes one if there is none."""
    today = datetime.date.today().isoformat()
    path = ROOT / "benches" / "record" / name / f"{today}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text().rstrip("\n") + "\n" if path.exists() else f"# {today}, {cpu()}\n"
    path.write_text(f"{before}\n## Beside its peers\n\n{text}\n")
    return path


def parse_shape(text):
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape as in 1x128")
    return tuple(int(d) for d in text.split("x"))


def at_least(least, kind):
    def parse(text):
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = kind.__name__
    return parse


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="MODEL",
                        help=f"of {', '.join(SHAPES)} (default: all)")
    parser.add_argument("--shapes", nargs="+", type=parse_shape, metavar="1x128",
                        help="instead of those a model usually has here; for one model")
    parser.add_argument("--threads", nargs="+", type=at_least(1, int), default=[1, 2], metavar="N",
                        help="numbers of threads (default: 1 2)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, metavar="PEER",
                        help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--rounds", type=at_least(1, int), default=15, metavar="N",
                        help=f"(default: 15; {SLOW_ROUNDS} of a peer whose run takes over {SLOW_NS // 10**9} s)")
    parser.add_argument("--turn", type=at_least(0, float), default=40, metavar="MS",
                        help="how long a peer runs when it is its turn (default: 40)")
    parser.add_argument("--starts", type=at_least(1, int), default=3, metavar="N",
                        help="start-ups of a peer in a row, of which the median is shown (default: 3)")
    parser.add_argument("--timeout", type=at_least(0, float), default=300, metavar="S",
                        help="how long to wait for a peer (default: 300)")
    parser.add_argument("--bgz", type=Path, default=ROOT / "target/release/bgz", metavar="FILE",
                        help="the program bgz (default: target/release/bgz)")
    parser.add_argument("--worker", type=Path, default=HERE / "worker/target/release/peer", metavar="FILE",
                        help="the program of rten and tract (default: benches/peers/worker/target/release/peer)")
    parser.add_argument("--record", metavar="CPU", type=str,
                        help="add the tables to today's file in benches/record/CPU")
    args = parser.parse_args()
    if args.shapes and len(args.models) != 1:
        parser.error("--shapes goes with one model: say --models MODEL")
    if args.record and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", args.record):
        parser.error("--record takes the name of a folder, as in intel-xeon-cascade-lake")
    return args


def say_on_terminal(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def bench(args, model, versions, folder):
    """The rows of a model."""
    file, make, _ = FIXTURES[model]
    path = ROOT / file
    if not path.is_file():
        raise Left(f"{file} is missing; models/fetch.sh gets it")
    # From disk once, so that the first to load it is not the one that waits.
    for part in [path, *path.parent.glob("*.onnx.data")]:
        part.read_bytes()
    rows = []
    for dims in args.shapes or SHAPES[model]:
        shape = "x".join(map(str, dims))
        inputs = folder / "inputs.npz"
        try:
            np.savez(inputs, **make(*dims))
        except TypeError:
            raise Left(f"{shape} has not as many dims as its inputs; it is run at, say, {SHAPES[model][0]}") from None
        for threads in args.threads:
            results, left = measure(
                args, args.peers, path, inputs, threads, folder,
                lambda text: say_on_terminal(f"{model} {shape} on {threads}: {text}"),
            )
            versions.update((peer, r.version) for peer, r in results.items())
            rows.append((shape, threads, results, left, agree(results, left)))
    return rows


def main():
    args = arguments()
    args.peers = [p for p in PEERS if p in args.peers]
    loads, versions, sections = [load_of_machine()], {}, []
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        for model in args.models:
            try:
                section = report(model, args.peers, bench(args, model, versions, Path(folder)))
            except Left as e:
                section = f"### {model}\n\n- left out: {e}"
            say_on_terminal("")
            # As each is done: the whole takes a while.
            print(f"{section}\n", flush=True)
            sections.append(section)
    loads.append(load_of_machine())
    text = about(versions, loads)
    print(text)
    if args.record:
        path = record(args.record, "\n\n".join([text, *sections]))
        print(f"\nadded to {path.relative_to(ROOT)}")
    if not versions:
        sys.exit("error: no peer ran")


if __name__ == "__main__":
    main()
