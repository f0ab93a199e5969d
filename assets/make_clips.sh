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
# Turned by the container, and files that the ffmpeg program is asked for.
ffmpeg -v error -y -i open_gop_odd.mp4 -c copy -metadata:s:v rotate=90 turned_90.mp4
ffmpeg -v error -y -i open_gop_odd.mp4 -c copy -metadata:s:v rotate=270 turned_270.mp4
ffmpeg -v error -y -i high_bframes.mp4 -c copy -movflags frag_keyframe+empty_moov fragmented.mp4
ffmpeg -v error -y -i high_bframes.mp4 -c:v libvpx-vp9 -crf 40 -b:v 0 -g 10 -pix_fmt yuv420p vp9.webm
ffmpeg -v error -y -i high_bframes.mp4 -c:v mpeg4 -vtag XVID -bf 2 -g 10 -q:v 8 xvid.avi
ffmpeg -v error -y -i high_bframes.mp4 -c:v libx265 -x265-params log-level=error:keyint=10:bframes=3 -tag:v hvc1 hevc.mp4
for name in turned_90.mp4 turned_270.mp4 fragmented.mp4 vp9.webm xvid.avi hevc.mp4; do
    ffmpeg -v error -y -i "$name" -vf "tile=1x24" -frames:v 1 -pix_fmt rgb24 "${name%.*}.png"
done
