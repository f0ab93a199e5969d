#!/usr/bin/env bash
# Times one training step of mvd and of PyTorch in turn: run.sh [bench-tiny|small-from-base] [rounds]
set -euo pipefail
step=${1:-bench-tiny} rounds=${2:-3}
here=$(cd "$(dirname "$0")" && pwd)
mvd=${MVD:-$here/../../target/release/mvd}
python=${PYTHON:-python3}
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"
for round in $(seq "$rounds"); do
    theirs=$("$python" "$here/pytorch.py" "$step" --threads "$(nproc)")
    ours=$("$mvd" bench --only "$step" --runs 5 --json)
    THEIRS=$theirs OURS=$ours "$python" - "$round" <<'EOF'
import json, os, sys
theirs, ours = json.loads(os.environ["THEIRS"]), json.loads(os.environ["OURS"])["steps"][0]
print(f"round {sys.argv[1]}: mvd {ours['seconds']:.3f} s, PyTorch {theirs['seconds']:.3f} s, ratio {ours['seconds'] / theirs['seconds']:.2f}; "
      f"mvd's plan {ours['mib']:.0f} MiB, PyTorch's process {theirs['peak_mib']:.0f} MiB", flush=True)
EOF
done | tee /dev/stderr | python3 -c "
import re, statistics, sys
ratios = [float(m.group(1)) for m in re.finditer(r'ratio ([0-9.]+)', sys.stdin.read())]
print(f'median ratio {statistics.median(ratios):.2f}')"
