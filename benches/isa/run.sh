#!/usr/bin/env bash
# What AMD's Vulkan compiler makes of every kernel, without a GPU, for RDNA2, RDNA3 and RDNA4; as root (it uses chroot):
#   run.sh [--check] [PART ..] [OVERRIDE=VALUE,.. ..] [BLOCK=TRIPS ..]
# Of the environment: SHADERS (the folder), CHIPS (RADV's names), ROOT (a Debian with Mesa, made where there is none), BARS.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
shaders=${SHADERS:-$here/../../shaders}
chips=${CHIPS:-navi21 navi31 gfx1201}
root=${ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/mvd/isa-root}
bars=${BARS:-$here/bars.toml}
if [ "$(id -u)" -ne 0 ]; then
    echo "run.sh: chroot needs root; run it as root or with sudo" >&2
    exit 1
fi
if [ ! -e "$root/usr/share/vulkan/icd.d/radeon_icd.json" ]; then
    if ! command -v debootstrap >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >/dev/null
    fi
    echo "run.sh: makes a Debian with Mesa in $root (800 MB)" >&2
    mkdir -p "$root"
    debootstrap --variant=minbase --include=mesa-vulkan-drivers trixie "$root" >/dev/null
fi
cargo build --locked --quiet --release --manifest-path "$here/Cargo.toml"
work=$root/isa
rm -rf "$work"
mkdir -p "$work"
cp "$here/target/release/isa" "$bars" "$work/"
cp -r "$shaders" "$work/shaders"
failed=0
for chip in $chips; do
    # The driver warns of every null device.
    chroot "$root" env XDG_RUNTIME_DIR=/tmp VK_DRIVER_FILES=/usr/share/vulkan/icd.d/radeon_icd.json RADV_FORCE_FAMILY="$chip" \
        /isa/isa --bars "/isa/$(basename "$bars")" /isa/shaders "/isa/$chip" "$@" \
        2> >(grep -v -e "not a conformant" -e ac_compute_device_uuid >&2) || failed=1
done
echo "run.sh: assembly and costs of loops are in $work/CHIP/KERNEL/" >&2
exit $failed
