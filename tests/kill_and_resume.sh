#!/usr/bin/env bash
# A run stopped at random moments, by SIGKILL (200 by default), then by SIGTERM (20), and gone on with each time. When it comes to its end, it
# must hold the bits of a run that was never stopped, in weights, moments, state and log; then it begins again. After a SIGTERM no step is lost.
# Usage: tests/kill_and_resume.sh [KILLS [TERMS]]
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-200} terms=${2:-20}
cargo build --release --locked
mvd=$PWD/target/release/mvd
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
RANDOM=1

"$mvd" synth --count 12 "$dir/set" >/dev/null
for kind in image video; do
    "$mvd" init $kind "$dir/$kind" --size 32,1,2 --patch 16 >/dev/null
done
flags=(--steps 300 --batch 2 --accumulate 2 --save-every 7 --threads 2 --patch 16 --student 32,2,2 --decoder 16,1,1
    --image-teacher "$dir/image" --image-teacher-size 32,1,2 --video-teacher "$dir/video" --video-teacher-size 32,1,2
    --frames 4 --stride 3 --input-size 32 --mask-ratio 0.5 --drop-path 0.2 --data "$dir/set/list.txt")
"$mvd" distill "${flags[@]}" --out "$dir/whole" >/dev/null 2>&1

# Starts the run, or goes on with it, in the background.
go_on() {
    if [ -e "$dir/run/config.toml" ]; then
        "$mvd" distill --resume "$dir/run" >"$dir/said" 2>&1 &
    else
        rm -rf "$dir/run"
        "$mvd" distill "${flags[@]}" --out "$dir/run" >"$dir/said" 2>&1 &
    fi
    pid=$!
}

# A run that came to its end against the one that was never stopped.
compare() {
    local file
    for file in log.jsonl checkpoints/step-300/{weights.safetensors,optimizer.safetensors,state.json}; do
        cmp "$dir/whole/$file" "$dir/run/$file"
    done
    ends=$((ends + 1))
    rm -rf "$dir/run"
}

newest() { ls "$dir/run/checkpoints" 2>/dev/null | sed -n 's/^step-//p' | sort -n | tail -n 1; }

stop_by() {
    local signal=$1 times=$2 expected=$3 done=0 code said
    ends=0
    while [ "$done" -lt "$times" ]; do
        go_on
        sleep "$(printf '%d.%03d' $((RANDOM % 3)) $((RANDOM % 1000)))"
        if ! kill "-$signal" "$pid" 2>/dev/null; then
            wait "$pid"
            compare
            continue
        fi
        code=0
        wait "$pid" || code=$?
        # It may have come to its end just before.
        if [ "$code" = 0 ]; then compare; continue; fi
        [ "$code" = "$expected" ] || { echo "$signal: exit code $code"; cat "$dir/said"; exit 1; }
        done=$((done + 1))
        if [ "$signal" = TERM ]; then
            said=$(sed -n 's/.*stopped by SIGTERM after step \([0-9]*\);.*/\1/p' "$dir/said")
            [ "${said:-0}" = "$(newest || true)" ] || [ "${said:-0}" = 0 ] || { echo "stopped after step $said, checkpoint $(newest)"; exit 1; }
        fi
    done
    go_on
    wait "$pid"
    compare
    echo "SIG$signal: $times times, $ends runs to their end, each equal to the bit"
}
stop_by KILL "$kills" 137
stop_by TERM "$terms" 143
