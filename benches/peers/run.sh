#!/usr/bin/env bash
# Times one training step of mvd, of PyTorch and, if it is built, of burn in turn: run.sh [bench-tiny|small-from-base] [rounds]
set -euo pipefail
step=${1:-bench-tiny} rounds=${2:-3}
here=$(cd "$(dirname "$0")" && pwd)
mvd=${MVD:-$here/../../target/release/mvd}
burn=${BURN:-$here/burn/target/release/mvd-peer-burn}
python=${PYTHON:-python3}
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"
# Reads three lines a round: PyTorch, mvd, burn or null.
report=$(cat <<'EOF'
import json, statistics, sys

ratios, fastest = {}, {}
for number, lines in enumerate(zip(sys.stdin, sys.stdin, sys.stdin), 1):
    pytorch, mvd, burn = map(json.loads, lines)
    mvd = mvd["steps"][0]
    times = [
        f"mvd {mvd['seconds']:.3f} s (first {mvd['first_step']:.1f} s, plan {mvd['mib']:.0f} MiB)",
        f"PyTorch {pytorch['seconds']:.3f} s (process {pytorch['peak_mib']:.0f} MiB)",
    ]
    now = {"mvd/PyTorch": mvd["seconds"] / pytorch["seconds"]}
    each = {"mvd": mvd, "PyTorch": pytorch} | ({"burn": burn} if burn else {})
    for name, figures in each.items():
        fastest[name] = min(fastest.get(name, figures["fastest"]), figures["fastest"])
    if burn:
        times.append(f"burn {burn['seconds']:.3f} s (first {burn['first_step']:.1f} s, process {burn['peak_mib']:.0f} MiB)")
        now["burn/mvd"] = burn["seconds"] / mvd["seconds"]
    for name, ratio in now.items():
        ratios.setdefault(name, []).append(ratio)
    print(f"round {number}:", ", ".join(times + [f"{name} {ratio:.2f}" for name, ratio in now.items()]), flush=True)
if ratios:
    print("median", ", ".join(f"{name} {statistics.median(each):.2f}" for name, each in ratios.items()))
    steps = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in fastest.items())
    print(f"fastest step of all rounds: {steps}, mvd/PyTorch {fastest['mvd'] / fastest['PyTorch']:.2f}")
EOF
)
for _ in $(seq "$rounds"); do
    "$python" "$here/pytorch.py" "$step" --threads "$(nproc)"
    "$mvd" bench --only "$step" --runs 5 --json | tr -d '\n'
    echo
    if [[ -n ${BURN:-} || -x $burn ]]; then "$burn" "$step" --runs 5; else echo null; fi
done | "$python" -c "$report"
