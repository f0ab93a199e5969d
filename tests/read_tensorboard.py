"""Reads a run's event files with TensorBoard itself: python tests/read_tensorboard.py RUN... (pip install tensorboard)

Every number of log.jsonl and validation.jsonl must be there, once a step, and nothing else.
"""

import json
import math
import os
import sys

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator


def expected(run):
    numbers = {}
    for name, prefix in (("log.jsonl", ""), ("validation.jsonl", "val/")):
        with open(os.path.join(run, name)) as lines:
            for line in map(json.loads, lines):
                step = line.pop("step")
                line.pop("epoch", None)
                for key, value in line.items():
                    numbers.setdefault(prefix + key.replace("loss_", "loss/"), {})[step] = value
    return numbers


def main(runs):
    for run in runs:
        events = EventAccumulator(run, size_guidance={SCALARS: 0}).Reload()
        numbers = expected(run)
        assert set(events.Tags()["scalars"]) == set(numbers), (events.Tags()["scalars"], sorted(numbers))
        for tag, by_step in numbers.items():
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            assert [step for step, _ in found] == sorted(by_step), (run, tag, found)
            for step, value in found:
                assert math.isclose(value, by_step[step], rel_tol=1e-6, abs_tol=1e-30), (run, tag, step, value)
        steps = max(len(by_step) for by_step in numbers.values())
        print(f"{run}: {len(numbers)} tags, {steps} steps, all as in the run's logs")


if __name__ == "__main__":
    main(sys.argv[1:])
