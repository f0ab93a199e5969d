#!/usr/bin/env bash
# Makes assets/clips: small H.264 files and, beside each, ffmpeg's own RGB frames as one PNG strip to test against.
# Needs ffmpeg with libx264; run it only to change the clips.
set -euo pipefail
cd "$(dirname "$0")/clips"
make() { # name, size, x264 options, further ffmpeg options
    local name=$1 size=$2 options=$3
    shift 3
    ffmpeg -v error -y -f lavfi -i "testsrc2=size=$size:rate=12:duration=2" -pix_fmt yuv420p -c:v libx264 \
        -x264-params "$options" "$@" "$name.mp4"
    ffmpeg -v error -y -i "$name.mp4" -vf "tile=1x24" -frames:v 1 -pix_fmt rgb24 "$name.png"
}
make high_bframes 96x72 "keyint=10:bframes=3:b-pyramid=normal:crf=28" -profile:v high
make baseline 64x64 "keyint=12:crf=28" -profile:v baseline
make open_gop_odd 98x62 "keyint=8:bframes=2:open-gop=1:crf=28" -profile:v main
make bt709_full 64x48 "keyint=12:crf=28:colormatrix=bt709:fullrange=on" -colorspace bt709 -color_range pc
ffmpeg -v error -y -f lavfi -i "sine=duration=0.2" -c:a aac audio_only.mp4
