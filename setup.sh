#!/usr/bin/env bash
# Installs what building and running mvd needs: a linker, the Rust toolchain, and a Vulkan driver where none is found.
# Does nothing that is done already. Debian and Ubuntu are set up by this script; for others it says what to do.
set -euo pipefail

say() { printf 'setup: %s\n' "$*"; }

advise() {
    case "$(uname -s)" in
        Darwin) say "macOS: Metal is part of the system. Install the linker with 'xcode-select --install'." ;;
        MINGW* | MSYS* | CYGWIN*) say "Windows: DX12 is part of the system. Install Visual Studio Build Tools (C++)." ;;
        *)
            if command -v dnf >/dev/null; then say "Fedora: sudo dnf install gcc mesa-vulkan-drivers"
            elif command -v pacman >/dev/null; then say "Arch: sudo pacman -S --needed base-devel vulkan-swrast (or your GPU's vulkan driver)"
            else say "install a C linker (cc) and a Vulkan driver, for instance Mesa's"
            fi ;;
    esac
}

install_debian() {
    local missing=()
    command -v cc >/dev/null || missing+=(build-essential)
    # Any driver will do: the loader lists its manifests here.
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null ||
        missing+=(mesa-vulkan-drivers)
    ldconfig -p | grep -q libvulkan.so.1 || missing+=(libvulkan1)
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
}

if command -v apt-get >/dev/null; then install_debian; else advise; fi

if ! command -v cargo >/dev/null; then
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal --component clippy,rustfmt
    else
        say "Rust 1.89 or newer is missing: install it from https://rustup.rs and run this script again"
        exit 1
    fi
fi
say "ready: $(cargo --version)"
