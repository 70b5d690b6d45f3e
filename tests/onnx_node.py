#!/usr/bin/env python3
"""Runs the backend tests of the ONNX standard through `bgz run` and writes what passes.

Without --check it writes docs/onnx-support.md, and adds the tests that pass now to tests/onnx_node_passing.txt. With
--check it writes nothing. Either way it fails if a test of that list no longer passes, or if any value is wrong that
tests/onnx_node_rounded.txt does not name, and with --check if one of the files is not what would be written. The tests
are those of the package `onnx` that need no download, in the version of tests/requirements-onnx.txt, which is installed
into a virtual environment below target/.
"""

import argparse
import concurrent.futures
import contextlib
import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
REQUIREMENTS = ROOT / "tests/requirements-onnx.txt"
REPORT = ROOT / "docs/onnx-support.md"
PASSING = ROOT / "tests/onnx_node_passing.txt"
ROUNDED = ROOT / "tests/onnx_node_rounded.txt"
AGAIN = "python3 tests/onnx_node.py"

# Those of real models are left out, as their files are not in the package.
KINDS = ["node", "simple", "pytorch-operator", "pytorch-converted"]
LIMIT = 60

# The standard does not say which numbers are drawn, and its own runs leave such tests out or repeat NumPy's generator.
# Only dtypes and shapes are compared.
RANDOM = re.compile(r"^test_(bernoulli|training_dropout(?!_zero_ratio))")


class TestError(Exception):
    """Something the user is told in one line."""


def environment():
    """Goes on in the virtual environment with the packages that are pinned, which is made if it is not there."""
    folder = (TARGET / "onnx-venv").absolute()
    python = folder / "bin/python"
    if Path(sys.prefix) == folder.resolve():
        return
    stamp = folder / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        try:
            venv.create(folder, clear=True, with_pip=True)
        except subprocess.CalledProcessError as e:
            raise TestError(f"Python's venv could not make {folder}: {e}") from e
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
        done = subprocess.run([*pip, "-r", REQUIREMENTS], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise TestError(f"pip could not install {REQUIREMENTS.name}; it said:\n{done.stderr.strip()}")
        stamp.write_text(wanted)
    os.execv(python, [python, "-W", "ignore", *sys.argv])


@dataclass
class Test:
    """A test of the standard: a model, and arrays by name that go in and have to come out."""

    name: str
    kind: str
    model: object
    folder: str | None
    sets: list
    rtol: float
    atol: float
    # The node that is tested, if it is a single one.
    op: tuple | None = None
    # True if that node is replaced by simpler ones.
    expanded: bool = False


@dataclass
class Outcome:
    """How a test went: passes, wrong, refused, crash; and why it does not pass, in one line."""

    how: str
    why: str = ""
    # True if a wrong value is one unit in the last place of f16 or bf16 off at most.
    near: bool = False


def load():
    """All tests, by name."""
    from onnx.backend.test.case import node
    from onnx.backend.test.loader import load_model_tests

    tests = []
    for kind in KINDS:
        with contextlib.redirect_stdout(sys.stderr):
            cases = load_model_tests(kind=kind)
        tests += [of_node(c, node._existing_names) if kind == "node" else of_files(c) for c in cases]
    return sorted(tests, key=lambda t: t.name)


def of_node(case, nodes):
    """A test that is made in memory. The one for what a function stands for has the function's name and a suffix."""
    own = case.name.rsplit("_expanded", 1)[0]
    expanded = case.name not in nodes
    node = nodes[own if expanded else case.name]
    graph = case.model.graph
    sets = [(named(graph.input, inputs), named(graph.output, outputs)) for inputs, outputs in case.data_sets]
    op = (node.domain, node.op_type)
    return Test(case.name, case.kind, case.model, None, sets, case.rtol, case.atol, op, expanded)


def of_files(case):
    """A test that lies in files."""
    import onnx

    model = onnx.load(f"{case.model_dir}/model.onnx")
    constants = {i.name for i in model.graph.initializer}
    declared = [i for i in model.graph.input if i.name not in constants]
    sets = []
    for folder in sorted(glob.glob(f"{case.model_dir}/test_data_set*")):
        inputs = [read(f"{folder}/input_{i}.pb", v.type) for i, v in enumerate(declared)]
        outputs = [read(f"{folder}/output_{i}.pb", v.type) for i, v in enumerate(model.graph.output)]
        sets.append((named(declared, inputs), named(model.graph.output, outputs)))
    return Test(case.name, case.kind, model, case.model_dir, sets, case.rtol, case.atol)


def read(path, ty):
    """A value of a protobuf file of the type that the graph declares."""
    import onnx
    from onnx import numpy_helper

    kinds = {
        "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
        "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
        "tensor_type": (onnx.TensorProto, numpy_helper.to_array),
    }
    proto, convert = kinds[ty.WhichOneof("value")]
    return convert(proto.FromString(Path(path).read_bytes()))


def named(declared, values):
    """Values by name: arrays, or what is no tensor as it is."""
    import numpy as np
    import onnx

    out = {}
    for v, value in zip(declared, values, strict=True):
        if isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        out[v.name] = value if value is None or isinstance(value, (list, tuple)) else np.asarray(value, order="C")
    return out


def tensors(outputs):
    """The outputs as `bgz run` writes them: those of a sequence one by one, and none of an optional without a value."""
    import numpy as np

    out = {}
    for name, value in outputs.items():
        if isinstance(value, (list, tuple)):
            out |= {f"{name}.{i}": np.asarray(v, order="C") for i, v in enumerate(value)}
        elif value is not None:
            out[name] = value
    return out


def unsaid(value):
    """Why a value cannot be an array of an npz file, or nothing."""
    if value is None:
        return "an optional without a value"
    if isinstance(value, (list, tuple)):
        return "a sequence"
    return None


def write(path, arrays):
    """An npz file. numpy.savez takes names as keywords and has one of its own."""
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            if array.dtype.kind == "O":
                array = array.astype(str)
            # As these would be, but for one that gets a name which NumPy does not read.
            if array.dtype.type.__module__ == "ml_dtypes":
                array = array.view(f"V{array.dtype.itemsize}")
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def differs(got, right, rtol, atol):
    """How an array is not right, and whether only in the last place of f16 or bf16; nothing if it is.

    As in the standard's own runner, but that integers have to be equal.
    """
    import numpy as np

    if got.dtype.kind == "V" and right.dtype.type.__module__ == "ml_dtypes" and got.dtype.itemsize == right.dtype.itemsize:
        got = got.view(right.dtype)
    strings = right.dtype.kind in "OUS"
    if got.shape != right.shape or (got.dtype.kind != "U" if strings else got.dtype != right.dtype):
        return f"{got.dtype}{list(got.shape)} instead of {right.dtype}{list(right.shape)}", False
    if strings:
        same = got == right.astype(str)
    elif right.dtype.kind in "biu" or right.dtype.name in ("int4", "uint4", "int2", "uint2"):
        same = got == right
    else:
        if right.dtype.name == "bfloat16":
            rtol = max(rtol, 2.0**-6)
        wide = [a.astype(np.float64) for a in (got, right)]
        with np.errstate(invalid="ignore"):
            same = np.isclose(*wide, rtol=rtol, atol=atol, equal_nan=True)
    if np.all(same):
        return None
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    how = f"{int(np.sum(~same))} of {got.size} differ, first at {list(at)}: {got[at]} instead of {right[at]}"
    near = False
    if right.dtype.name in ("float16", "bfloat16") and np.isfinite(wide[0][~same]).all():
        # Of numbers of one sign, neighbours have neighbouring bits.
        bits = [a[~same].view(np.int16).astype(int) for a in (got, right)]
        near = bool((np.abs(bits[0] - bits[1]) <= 1).all())
    return how, near


def run(bgz, test, folder):
    """Runs a test; `bgz` is the program and flags of a run."""
    import onnx

    model = f"{test.folder}/model.onnx" if test.folder else f"{folder}/{test.name}.onnx"
    if not test.folder:
        onnx.save(test.model, model)
    outcome = Outcome("passes")
    for i, (inputs, right) in enumerate(test.sets):
        path = f"{folder}/{test.name}.{i}"
        outcome = run_set(bgz, model, inputs, right, path, test)
        if outcome.how != "passes":
            break
    return outcome


def run_set(bgz, model, inputs, right, path, test):
    """Runs a test with one of its sets of inputs."""
    import numpy as np

    cannot = [f"input: {why}" for v in inputs.values() if (why := unsaid(v))]
    right = tensors(right)
    write(f"{path}.in.npz", {n: v for n, v in inputs.items() if not unsaid(v)})
    files = [model, "--inputs", f"{path}.in.npz", "--output", f"{path}.out.npz"]
    command = [bgz[0], "run", *files, "--repeat", "1", *bgz[1:]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return Outcome("crash", f"ended after {LIMIT} s")
    if done.returncode not in (0, 1) or "panicked" in done.stderr:
        return Outcome("crash", f"exit code {done.returncode}: {done.stderr.strip()[:500]}")
    if done.returncode == 1 and not done.stderr.strip():
        return Outcome("crash", "fails without a word")
    if done.returncode == 1:
        why = reason(done.stderr, model)
        # A model that was read is not refused for what the file of inputs cannot hold.
        return Outcome("refused", cannot[0] if cannot and "cannot import" not in done.stderr else why)
    if cannot:
        return Outcome("refused", cannot[0])
    with np.load(f"{path}.out.npz") as got:
        if more := sorted(set(got.files) - right.keys()):
            return Outcome("wrong", f"an output {more[0]}")
        for name, value in right.items():
            if name not in got.files:
                return Outcome("wrong", f"no output {name}")
            array = got[name]
            if RANDOM.search(test.name):
                array = value if (array.dtype, array.shape) == (value.dtype, value.shape) else array
            if how := differs(array, value, test.rtol, test.atol):
                return Outcome("wrong", f"{name}: {how[0]}", how[1])
    return Outcome("passes")


# Parts of a refusal that are of this test only: names of open extents, and extents.
OF_THIS_TEST = [
    (r"\bextent _\d+", "an extent"),
    (r"\bthe an extent", "an extent"),
    (r", not \d+ and \d+\b", ""),
    (r"\bone for each of \d+ axes", "one for each axis"),
]


def reason(said, model):
    """What a refusal is about, without names of values, nodes and files."""
    lines = said.strip().removeprefix("bgz: ").splitlines()
    first = lines[0].replace(str(model), "MODEL")
    for start in ("cannot import MODEL: ", "cannot run the model: "):
        first = first.removeprefix(start)
    for pattern, by in OF_THIS_TEST:
        first = re.sub(pattern, by, first)
    if re.fullmatch(r"\d+ nodes? cannot be run:", first):
        listed = [line for line in lines[1:] if line.startswith("  ")]
        ops = sorted({re.sub(r"( x\d+, first)? \(node .*\)$", "", line.strip()) for line in listed})
        return f"not there: {', '.join(ops)}"
    if m := re.fullmatch(r"node .* \(([\w.]+)\): (.*)", first):
        return f"{m[1]}: {m[2]}"
    if m := re.fullmatch(r"(input|output|tensor) [^:]*: (.*)", first):
        return f"{m[1]}: {m[2]}"
    return re.sub(r"^%\S+( = [\w.]+)?: ", "", first)


def run_all(bgz, tests, jobs):
    """The outcome of every test by name."""
    with tempfile.TemporaryDirectory(dir=TARGET, prefix="onnx-node-") as folder:
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            outcomes = pool.map(lambda t: run(bgz, t, folder), tests)
            return {t.name: o for t, o in zip(tests, outcomes)}


def report(tests, outcomes):
    """docs/onnx-support.md."""
    import onnx

    counted = [t for t in tests if not RANDOM.search(t.name)]
    left = [f"`{t.name}`" for t in tests if RANDOM.search(t.name)]

    def passes(some):
        return f"{sum(outcomes[t.name].how == 'passes' for t in some)}/{len(some)}" if some else ""

    wrong = [[t.name, outcomes[t.name].why] for t in tests if outcomes[t.name].how in ("wrong", "crash")]
    lines = [
        "# Support of ONNX, by the tests of the standard",
        "",
        f"Made by `{AGAIN}` from what `bgz run` did with the backend tests of the package `onnx` {onnx.__version__}, "
        "all but those of real models, which need a download. Dtypes and shapes have to be those of the standard's data, "
        "integers and strings equal, and floats within the tolerance of the test, which is 1e-3 of the value and 1e-7 "
        "unless it says otherwise.",
        "",
        f"**{passes(counted)} tests pass.** The others are refused with an error{', or wrong' if wrong else ''}. "
        f"{len(left)} more draw random numbers, which the standard leaves open, and are not counted: {', '.join(left)}.",
        "",
        *table(
            ["tests", "pass", "refused", "wrong", "all"],
            [kind_row(k, [t for t in counted if t.kind == k], outcomes) for k in KINDS],
        ),
        "",
        "## By op",
        "",
        "The tests of a single node. Many ops are functions of simpler ones, and such a test is there again with the body "
        "of the function in place of the op: those are counted as expanded.",
        "",
    ]
    by_op = defaultdict(list)
    for t in counted:
        if t.op:
            by_op[t.op].append(t)
    rows = []
    for (domain, op), some in sorted(by_op.items(), key=lambda e: (e[0][0], e[0][1])):
        opsets = {o.version for t in some if not t.expanded for o in t.model.opset_import if o.domain == domain}
        why = Counter(short(outcomes[t.name], op) for t in some if outcomes[t.name].how != "passes")
        said = "; ".join(f"{w} ({n})" for w, n in sorted(why.items(), key=lambda e: (-e[1], e[0])))
        both = [passes([t for t in some if t.expanded == expanded]) for expanded in (False, True)]
        rows.append([op, domain or "ai.onnx", ", ".join(map(str, sorted(opsets))), *both, said])
    lines += table(["op", "domain", "opsets", "passes", "expanded", "why others do not (tests)"], rows)
    missing = Counter(op for t in counted for op in ops_not_there(outcomes[t.name]))
    lines += ["", "## Ops that are not there", "", "How many tests, expanded ones too, are refused for an op.", ""]
    lines += table(["op", "tests"], [[op, str(n)] for op, n in sorted(missing.items(), key=lambda e: (-e[1], e[0]))])
    models = defaultdict(list)
    for t in counted:
        if not t.op and outcomes[t.name].how != "passes":
            models[short(outcomes[t.name], "")].append(t.name.removeprefix("test_"))
    lines += ["", "## Whole models", "", "The tests of more than one node that do not pass.", ""]
    lines += table(["why", "tests"], [[why, ", ".join(names)] for why, names in sorted(models.items())])
    if wrong:
        lines += ["", "## Wrong", "", *table(["test", "how"], wrong)]
    return "\n".join(lines) + "\n"


def kind_row(kind, tests, outcomes):
    """How many tests of a kind went how."""
    how = Counter(outcomes[t.name].how for t in tests)
    return [kind, str(how["passes"]), str(how["refused"]), str(how["wrong"] + how["crash"]), str(len(tests))]


def short(outcome, op):
    """Why a test of an op does not pass, without the name of the op."""
    if outcome.how != "refused":
        return outcome.how
    return "not there" if outcome.why == f"not there: {op}" else outcome.why.removeprefix(f"{op}: ")


def ops_not_there(outcome):
    """The ops that a refusal says are not there."""
    return outcome.why.removeprefix("not there: ").split(", ") if outcome.why.startswith("not there: ") else []


def table(head, rows):
    """The lines of a table."""
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def listed(path):
    """The lines of a list, without remarks: the first word, and what follows it."""
    if not path.is_file():
        return {}
    lines = [line.strip() for line in path.read_text().splitlines()]
    words = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return {name: rest.strip() for name, _, rest in words}


def faults(tests, outcomes):
    """Whatever may not be: wrong values, crashes, tests that passed before, and entries of lists that are of no use."""
    out = []
    passing, rounded = listed(PASSING), listed(ROUNDED)
    names = {t.name for t in tests}
    for path, entries in ((PASSING, passing), (ROUNDED, rounded)):
        out += [f"{name}: in {path.name}, but there is no such test" for name in entries if name not in names]
    for name, why in rounded.items():
        if not why:
            out.append(f"{name}: in {ROUNDED.name} without a reason")
        if name in names and not outcomes[name].near:
            out.append(f"{name}: is not off in the last place: remove it from {ROUNDED.name}")
    for name, o in outcomes.items():
        if o.how == "crash" or (o.how == "wrong" and not (o.near and name in rounded)):
            out.append(f"{name}: {o.how}: {o.why}")
        elif o.how == "refused" and name in passing:
            out.append(f"{name}: passed before and is refused: {o.why}")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if anything is not as it should be")
    parser.add_argument("--bgz", type=Path, default=TARGET / "release/bgz", help="the program (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many run at once (default: one a core)")
    parser.add_argument("--only", metavar="REGEX", help="say how the tests went whose names match, and write nothing")
    parser.add_argument("--no-rewrite", action="store_true", help="with --only: run models as they were imported")
    args = parser.parse_args()
    if args.no_rewrite and not args.only:
        parser.error("--no-rewrite goes with --only")
    if not args.bgz.is_file():
        raise TestError(f"there is no {args.bgz}; `cargo build --release` makes it")
    if sys.version_info < (3, 11):
        raise TestError(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}")
    environment()
    start = time.monotonic()
    tests = load()
    if args.only:
        tests = [t for t in tests if re.search(args.only, t.name)]
    outcomes = run_all([args.bgz.absolute(), *["--no-rewrite"] * args.no_rewrite], tests, args.jobs)
    if args.only:
        for name, o in outcomes.items():
            print(f"{name}: {o.how}{o.why and ': '}{o.why}")
        return False
    how = Counter(o.how for o in outcomes.values())
    seconds = time.monotonic() - start
    print(f"{len(tests)} tests in {seconds:.0f} s: {', '.join(f'{n} {h}' for h, n in sorted(how.items()))}")
    out = faults(tests, outcomes)
    passed = listed(PASSING).keys() | {t.name for t in tests if outcomes[t.name].how == "passes"}
    files = {REPORT: report(tests, outcomes), PASSING: "".join(f"{name}\n" for name in sorted(passed))}
    for path, text in files.items():
        if not args.check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            out.append(f"{path.relative_to(ROOT)} is not up to date: `{AGAIN}` writes it anew")
    for line in out:
        print(f"error: {line}", file=sys.stderr)
    return bool(out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TestError as e:
        sys.exit(f"error: {e}")
