#!/usr/bin/env bash
# Products and attention of f16 operands on a driver with cooperative matrices: lavapipe of Mesa 26, in a Debian sid beside this system; as root.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${1:-/tmp/mvd-sid}
if [ ! -e "$root/usr/share/vulkan/icd.d" ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >/dev/null
    debootstrap --variant=minbase --include=mesa-vulkan-drivers sid "$root" >/dev/null
fi
program=$(cargo test --locked --no-run --test ops 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')
cp "$program" "$root/tmp/ops"
mkdir -p "$root/tmp/run"
# Asked for by the environment, a driver without the matrices is a failure, and not the test's other case.
chroot "$root" env XDG_RUNTIME_DIR=/tmp/run MVD_PRECISION=f16 /tmp/ops f16
