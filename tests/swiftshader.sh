#!/usr/bin/env bash
# The operations and the self-test on a second Vulkan driver: SwiftShader, of 4 lanes a subgroup, from Debian's chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
driver=/usr/lib/chromium/libvk_swiftshader.so
if [ ! -e "$driver" ]; then
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
manifest=$(mktemp --suffix=.json)
trap 'rm -f "$manifest"' EXIT
sed "s#\"library_path\": *\"[^\"]*\"#\"library_path\": \"$driver\"#" /usr/lib/chromium/vk_swiftshader_icd.json >"$manifest"
export VK_ICD_FILENAMES="$manifest" VK_DRIVER_FILES="$manifest" MVD_ADAPTER=SwiftShader
# Compiling takes most of the time there: arguments name the tests of operations, all without.
cargo test --locked --test ops -- "$@"
cargo run --locked --quiet -- selftest | tail -n 1
