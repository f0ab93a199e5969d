#!/usr/bin/env bash
# The long form of the kill test: a run killed by SIGKILL at 20 moments and resumed ends at the same bits.
set -euo pipefail
cd "$(dirname "$0")/.."
MVD_KILLS="${1:-20}" cargo test --locked --test runs runs_repeat_to_the_bit -- --nocapture
