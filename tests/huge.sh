#!/usr/bin/env bash
# ViT-H from ViT-H at 224, 16 frames, batch 1: two steps, a checkpoint, a resume for one more step. The peak of resident
# memory stays within 1 GiB of the plan. By hand: on lavapipe it needs about 20 GB of memory, 20 GB of disk and a quarter of an hour.
# Usage: tests/huge.sh [FOLDER], which keeps the random teachers and is otherwise a temporary one.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
mvd=$PWD/target/release/mvd
dir=${1:-$(mktemp -d)}
mkdir -p "$dir"
[ -e "$dir/set/list.txt" ] || "$mvd" synth --count 4 "$dir/set"
for kind in image video; do
    [ -e "$dir/$kind.safetensors" ] || "$mvd" init $kind "$dir/$kind.safetensors" --size huge --patch 16
done
rm -rf "$dir/run"
flags=(--student huge --patch 16 --frames 16 --stride 1 --input-size 224 --batch 1 --accumulate 1 --recompute
    --image-teacher "$dir/image.safetensors" --image-teacher-size huge
    --video-teacher "$dir/video.safetensors" --video-teacher-size huge
    --data "$dir/set/list.txt" --out "$dir/run" --threads 1 --steps 2 --save-every 2)

planned=$("$mvd" distill "${flags[@]}" --dry-run | awk '$1 == "total" && !found { print $NF; found = 1 }')
echo "planned: $planned MiB"

# Runs a command and holds its peak to the plan.
within_plan() {
    local what=$1 peak
    shift
    /usr/bin/time -f '%M' -o "$dir/peak" "$mvd" "$@"
    peak=$(tail -n 1 "$dir/peak")
    awk -v what="$what" -v peak="$peak" -v planned="$planned" 'BEGIN {
        over = peak / 1024 - planned
        printf "%s: peak %.0f MiB, %.0f over the plan\n", what, peak / 1024, over
        exit over > 1024
    }'
}
within_plan "two steps and a checkpoint" distill "${flags[@]}"
within_plan "a resume for one more step" distill --resume "$dir/run" --steps 3
[ -d "$dir/run/checkpoints/step-3" ]
