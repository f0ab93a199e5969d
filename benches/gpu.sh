#!/usr/bin/env bash
# Checks and measures mvd on a GPU of a machine that may have neither Rust nor network.
#   benches/gpu.sh pack [FOLDER]     builds what the machine needs into a folder (target/gpu-pack) to be copied there
#   ./gpu.sh run [--help]            in that folder: runs everything, writes gpu-report.json, prints tables
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# Copies a library of this system, under the name it is loaded by.
library() {
    local path
    path=$(ldconfig -p | awk -v name="$1" '$1 == name && /x86-64/ { print $NF; exit }')
    [[ -n $path ]] && cp -L "$path" "$2/$1"
}

pack() {
    cd "$here/.."
    local out=${1:-target/gpu-pack} ops
    # Builds the program as well.
    ops=$(cargo test --release --locked --test ops --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))/\1/p')
    rm -rf "$out"
    mkdir -p "$out/lib" "$out/lib-nvidia"
    strip -o "$out/mvd" "${CARGO_TARGET_DIR:-target}/release/mvd"
    strip -o "$out/ops" "$ops"
    gzip "$out/mvd" "$out/ops"
    library libvulkan.so.1 "$out/lib" || { echo "gpu.sh: libvulkan.so.1 not found; install libvulkan1" >&2; exit 1; }
    # What NVIDIA's driver links with, which a machine without a screen may lack.
    for name in libGLdispatch.so.0 libX11.so.6 libXext.so.6 libxcb.so.1 libXau.so.6 libXdmcp.so.6 libbsd.so.0 libmd.so.0; do
        library "$name" "$out/lib-nvidia" || echo "gpu.sh: without $name, which this system does not have"
    done
    cp benches/gpu.sh benches/gpu.py benches/peers/pytorch.py "$out"
    du -sh "$out"
}

case ${1:-} in
    pack) pack "${@:2}" ;;
    run) exec python3 "$here/gpu.py" "${@:2}" ;;
    *) sed -n '2,4s/^# *//p' "$0" >&2; exit 2 ;;
esac
