#!/usr/bin/env bash
# Training by several processes is training by one, to the bit: checkpoints and logs of `mpirun -np 2` and `-np 4` against
# `--accumulate 2` and `4`, for every kind of training; with a rank killed, and gone on with by other numbers of ranks.
#
#   tests/ranks.sh [LIBRARY ..]     ompi, mpich; by default both
#   MVD_LONG=1 tests/ranks.sh       every kind of training with both libraries and both numbers of ranks
#
# Installs what is missing by apt, as root. A short run is about two minutes after the builds.
set -euo pipefail
cd "$(dirname "$0")/.."
libraries=("$@")
[ ${#libraries[@]} -gt 0 ] || libraries=(ompi mpich)
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}" MVD_ADAPTER="${MVD_ADAPTER:-llvmpipe}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

declare -A packages=([ompi]="openmpi-bin libopenmpi-dev" [mpich]="mpich libmpich-dev")
declare -A launchers=([ompi]="mpirun.openmpi --oversubscribe --mca btl_tcp_if_include lo" [mpich]="mpirun.mpich")

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
    finetune) echo finetune --size 32,2,2 --frames 4 --stride 3 --classes 4 --drop-path 0.2 --ema 0.9 --repeats 2 --mixup 0.8 \
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

# A run of 4 ranks loses one of them; 2 ranks go on with it, then 1, to the numbers of a run that nothing happened to.
lose_one() { # library
    echo "$1: a rank is killed, and other numbers of ranks go on"
    local run="$work/$1-killed" pid said="$work/$1-said" began
    alone pretrain 4 12
    # More steps than are ever done before the kill.
    mpi "$1" 4 $(flags pretrain) "${tiny[@]}" --accumulate 1 --steps 100000 --out "$run" >"$said" 2>&1 &
    local job=$!
    until [ -d "$run/checkpoints/step-4" ]; do kill -0 $job || { cat "$said"; fail "ended early"; }; sleep 0.1; done
    pid=$(pgrep -f "$run" | while read -r p; do
        [ "$(readlink "/proc/$p/exe")" = "$work/mvd-$1" ] && echo "$p"; done | sort -n | tail -1)
    began=$SECONDS
    kill -KILL "$pid"
    if wait $job; then fail "a job that lost a rank ended well"; fi
    [ $((SECONDS - began)) -lt 60 ] || fail "a lost rank was noticed after $((SECONDS - began)) s"
    grep -Eq "rank [0-3] \(process $pid on .*\) has ended.*--resume $run" "$said" || { cat "$said"; fail "the lost rank is not named"; }
}
