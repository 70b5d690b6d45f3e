#!/usr/bin/env bash
# Gets the public models named in MANIFEST.toml into models/fetched/: `models/fetch.sh --help`.
set -euo pipefail

if ! command -v python3 >/dev/null; then
    echo "error: python3 is needed and not on the PATH" >&2
    exit 1
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "error: pip is needed and \`python3 -m pip\` does not run" >&2
    exit 1
fi
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/fetch.py" "$@"
