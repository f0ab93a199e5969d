"""Time that decord and OpenCV take for the clips that `mvd bench data` draws: opened anew, decoded, cut, resized."""

import argparse
import json
import random
import statistics
import time

import cv2
import decord


def clip(path: str, frames: int, stride: int, size: int) -> tuple[float, float]:
    """Seconds for decoding and for cutting and resizing one clip from a random place."""
    start = time.perf_counter()
    video = decord.VideoReader(path, num_threads=1, ctx=decord.cpu(0))
    first = random.randrange(max(1, len(video) - (frames - 1) * stride))
    rgb = video.get_batch([min(first + i * stride, len(video) - 1) for i in range(frames)]).asnumpy()
    decoded = time.perf_counter()
    height, width = rgb.shape[1:3]
    side = random.uniform(0.08, 1.0) ** 0.5
    h, w = max(1, int(height * side)), max(1, int(width * side))
    y, x = random.randrange(height - h + 1), random.randrange(width - w + 1)
    for frame in rgb:
        cv2.resize(frame[y : y + h, x : x + w], (size, size), interpolation=cv2.INTER_LINEAR)
    return decoded - start, time.perf_counter() - decoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--input-size", type=int, default=224)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    random.seed(0)
    times = [clip(args.video, args.frames, args.stride, args.input_size) for _ in range(args.clips)]
    decode, crop = (1000 * statistics.fmean(column) for column in zip(*times))
    print(json.dumps({"decode_ms": decode, "crop_ms": crop, "ms": decode + crop}))


if __name__ == "__main__":
    main()
