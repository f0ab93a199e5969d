#!/usr/bin/env bash
# Training by several processes is training by one, to the bit: checkpoints and logs of `mpirun -np 2` and `-np 4` against
# `--accumulate 2` and `4`, for every kind of training; with a rank killed, and gone on with by other numbers of ranks.
#
#   tests/ranks.sh [LIBRARY ..]     ompi, mpich; by default both
#   MVD_LONG=1 tests/ranks.sh       every kind of training with both libraries and both numbers of ranks
#
# Installs what is missing by apt, as root. After the build a library takes a minute on two idle cores, three on busy ones.
set -euo pipefail
cd "$(dirname "$0")/.."
libraries=("$@")
[ ${#libraries[@]} -gt 0 ] || libraries=(ompi mpich)
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}" MVD_ADAPTER="${MVD_ADAPTER:-llvmpipe}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

declare -A packages=([ompi]="openmpi-bin libopenmpi-dev" [mpich]="mpich libmpich-dev")
declare -A launchers=([ompi]="mpirun.openmpi --oversubscribe --bind-to none --mca btl_tcp_if_include lo" [mpich]="mpirun.mpich")

fail() {
    echo "ranks.sh: $*" >&2
    exit 1
}

build() { # library
    command -v "${launchers[$1]%% *}" >/dev/null ||
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ${packages[$1]} >/dev/null; }
    MPI_PKG_CONFIG=$1 cargo build --locked --features mpi --bin mvd
    cp target/debug/mvd "$work/mvd-$1"
}

mpi() { # library ranks arguments..
    local library=$1 ranks=$2
    shift 2
    ${launchers[$library]} -np "$ranks" "$work/mvd-$library" "$@"
}

quiet() {
    "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "failed: $*"; }
}

# All that a run leaves that must not depend on who computed it.
same() { # run run
    local file
    for file in $(cd "$work/$1" && find checkpoints log.jsonl validation.jsonl best.safetensors -type f 2>/dev/null); do
        cmp "$work/$1/$file" "$work/$2/$file" || fail "$1 and $2 differ in $file"
    done
    [ -e "$work/$1/log.jsonl" ] && [ -d "$work/$1/checkpoints" ] || fail "$1 left nothing to compare"
}

tiny=(--data "$work/set/list.txt" --patch 16 --input-size 32 --batch 2 --lr 0.1 --threads 1 --keep-every 2 --save-every 2)
flags() { # kind
    case $1 in
    distill) echo distill --student 32,2,2 --decoder 16,1,1 --image-teacher-size 32,1,2 --video-teacher-size 32,1,2 --frames 4 \
        --stride 3 --mask-ratio 0.5 --drop-path 0.2 --image-teacher "$work/image" --video-teacher "$work/video" ;;
    pretrain) echo pretrain video --size 32,2,2 --decoder 16,1,1 --frames 4 --stride 3 --mask-ratio 0.5 --clip-grad 0.5 ;;
    finetune) echo finetune --size 32,2,2 --frames 4 --stride 3 --classes 16 --drop-path 0.2 --ema 0.9 --repeats 2 --mixup 0.8 \
        --val "$work/set/list.txt" --model videomae ;;
    esac
}

alone() { # kind accumulate steps
    [ -d "$work/$1-$2" ] && return
    quiet "$work/mvd-${libraries[0]}" $(flags "$1") "${tiny[@]}" --accumulate "$2" --steps "$3" --out "$work/$1-$2"
}

compare() { # library kind ranks
    echo "$1: $3 ranks $2"
    alone "$2" "$3" 4
    quiet mpi "$1" "$3" $(flags "$2") "${tiny[@]}" --accumulate 1 --steps 4 --out "$work/$1-$2-$3"
    same "$2-$3" "$1-$2-$3"
}

# Runs until the checkpoint of a step is there; the launcher's process is $job then.
until_saved() { # run step said command..
    local run=$1 step=$2 said=$3
    shift 3
    "$@" >"$said" 2>&1 &
    job=$!
    until [ -d "$run/checkpoints/step-$step" ]; do
        kill -0 $job 2>/dev/null || { cat "$said" >&2; fail "ended before step $step"; }
        sleep 0.05
    done
}

# A run of 4 ranks loses one of them; 2 ranks go on with it and are stopped; 1 goes on to the numbers of a run that nothing happened to.
lose_one() { # library
    echo "$1: a rank is killed, and other numbers of ranks go on"
    local run="$work/$1-pretrain-4-killed" said="$work/$1-said" steps=60 victim began code
    local new=($(flags pretrain) "${tiny[@]}" --accumulate 1 --steps $steps --out "$run")
    [ -d "$work/whole" ] ||
        quiet "$work/mvd-$1" $(flags pretrain) "${tiny[@]}" --accumulate 4 --steps $steps --out "$work/whole"

    until_saved "$run" 4 "$said" ${launchers[$1]} -np 4 "$work/mvd-$1" "${new[@]}"
    victim=$(victim "$1" "$run")
    began=$SECONDS
    kill -KILL "$victim"
    if wait $job; then fail "a job that lost a rank ended well"; fi
    [ $((SECONDS - began)) -lt 60 ] || fail "a lost rank was noticed after $((SECONDS - began)) s"
    # Open MPI leaves the others the time to say who is gone; MPICH ends them at once and names the process, which was listed before.
    local told="rank [0-3] \(process $victim on .*\) has ended.*--resume $run"
    [ "$1" = ompi ] || told="rank 3 \(process $victim on [^)]*\)$"
    grep -Eq "$told" "$said" && grep -q -- "--resume $run" "$said" && grep -Eq "PID $victim |process $victim " "$said" ||
        { cat "$said" >&2; fail "the lost rank is not named"; }

    until_saved "$run" 20 "$said" ${launchers[$1]} -np 2 "$work/mvd-$1" pretrain video --resume "$run"
    kill -USR1 $job
    code=0
    wait $job || code=$?
    grep -q "stopped by SIGUSR1 after step .*--resume $run" "$said" || { cat "$said" >&2; fail "not stopped: $code"; }
    quiet "$work/mvd-$1" pretrain video --resume "$run"
    for file in log.jsonl "checkpoints/step-$steps"; do
        diff -r "$work/whole/$file" "$run/$file" || fail "$run: other numbers in $file"
    done
}

victim() { # library run
    pgrep -f "$work/mvd-$1 .*--out $2" | while read -r process; do
        if [ "$(readlink "/proc/$process/exe")" = "$work/mvd-$1" ]; then echo "$process"; fi
    done | sort -n | tail -1
}

# Two groups of two micro-batches by two ranks and, from their config, by one.
groups() { # library
    echo "$1: groups of several micro-batches"
    local run="$work/$1-groups"
    quiet mpi "$1" 2 $(flags pretrain) "${tiny[@]}" --accumulate 2 --steps 4 --out "$run"
    quiet "$work/mvd-$1" pretrain video --config "$run/config.toml" --out "$run-alone"
    same "$1-groups" "$1-groups-alone"
    # Rounded on the wire: other numbers, but close.
    quiet mpi "$1" 2 $(flags pretrain) "${tiny[@]}" --accumulate 2 --steps 4 --out "$run-f16" --wire f16
    if cmp -s "$run/log.jsonl" "$run-f16/log.jsonl"; then fail "--wire f16 has rounded nothing"; fi
    paste <(loss "$run") <(loss "$run-f16") | awk '($1-$2)^2 > (0.01*$1)^2 { exit 1 }' || fail "--wire f16 is far off"
}

loss() { # run
    grep -o '"loss":[0-9.e-]*' "$1/log.jsonl" | tail -1 | cut -d: -f2
}

# A rank that is stopped looks like one behind a cut network.
silent() { # library
    echo "$1: a rank is silent"
    local run="$work/$1-silent" said="$work/$1-said" began=$SECONDS process
    until_saved "$run" 4 "$said" ${launchers[$1]} -np 2 "$work/mvd-$1" $(flags pretrain) "${tiny[@]}" --accumulate 1 \
        --steps 100000 --save-every 4 --out "$run" --rank-timeout 2
    process=$(victim "$1" "$run")
    sleep 0.3
    kill -STOP "$process"
    if wait $job; then fail "a job with a silent rank ended well"; fi
    kill -KILL "$process" 2>/dev/null || true
    grep -Eq "no answer for [0-9]+ s .* from rank 1 \(process $process on .*--resume $run" "$said" ||
        { cat "$said" >&2; fail "the silent rank is not named"; }
}

# What cannot be shared out is told before anything is made.
refused() { # library
    echo "$1: what is refused"
    for case in "2|eval $work/whole --data $work/set/list.txt|only distill, pretrain, finetune share" \
        "3|pretrain video --resume $work/whole|start 1, 2 or 4 ranks"; do
        IFS='|' read -r ranks command expected <<<"$case"
        if mpi "$1" "$ranks" $command >"$work/said" 2>&1; then fail "not refused: $command"; fi
        grep -q "$expected" "$work/said" || { cat "$work/said" >&2; fail "another error: $command"; }
    done
}

for library in "${libraries[@]}"; do
    build "$library"
done
"$work/mvd-${libraries[0]}" synth --count 12 "$work/set" >/dev/null
for kind in image video; do
    "$work/mvd-${libraries[0]}" init "$kind" "$work/$kind" --size 32,1,2 --patch 16 >/dev/null
done
for library in "${libraries[@]}"; do
    if [ -n "${MVD_LONG:-}" ]; then
        for kind in distill pretrain finetune; do
            for ranks in 2 4; do compare "$library" "$kind" "$ranks"; done
        done
    else
        # Every kind, both numbers and both libraries, but not all of each.
        compare "$library" distill 2
        compare "$library" finetune 4
        compare "$library" pretrain 2
    fi
    groups "$library"
    lose_one "$library"
    silent "$library"
    refused "$library"
done
echo "all the same in $SECONDS s, with the builds"
