"""Checks and measures mvd on this machine's GPU, beside PyTorch; run by `gpu.sh run` in the folder that `gpu.sh pack` made.

Every part runs in a process of its own with a time limit; one that fails is recorded and the next one runs. The report is
written after every part.
"""
import argparse
import datetime
import gzip
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NVIDIA_ICD = "/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json"
NVIDIA_LIBRARIES = ["/usr/local/nvidia/lib64", "/usr/local/nvidia/lib"]
# Characters kept of what a part prints.
TAIL = 200_000


def parts(args, work):
    """`(name, seconds at most, command)` of every part, by importance."""
    mvd, ops, torch = os.path.join(work, "mvd"), os.path.join(work, "ops"), os.path.join(HERE, "pytorch.py")
    batch = ["--batch", str(args.batch)]
    runs = ["--runs", "2" if args.quick else "5"]
    bench, f16 = [mvd, "bench", "--json", *runs], ["--precision", "f16"]
    small, base = ("bench-tiny", "demo") if args.quick else ("small-from-base", "base-from-base")
    operations = [*bench, "--no-steps"] + (["--only", "160x384x1152"] if args.quick else [])
    modes = ["f32"] if args.torch_device == "cpu" else ["f32", "tf32", "bf16", "fp16"]
    # After a step's name: `--mode` takes every word that follows.
    pytorch = ["--device", args.torch_device, *batch, *runs, "--mode", *modes]
    all_parts = [
        ("adapters", 20, [mvd, "adapters"]),
        ("selftest", 90, [mvd, "selftest"]),
        ("autotune", 90, [mvd, "autotune", "--only", small, *batch]),
        ("step small f32", 60, [*bench, *batch, "--only", small]),
        ("pytorch small", 90, [sys.executable, torch, small, *pytorch]),
        ("step small f16", 60, [*bench, *batch, *f16, "--only", small]),
        ("kernels", 120, [ops, "every_kernel", "--nocapture"]),
        ("operations f32", 60, operations),
        ("step base f32", 60, [*bench, *batch, "--only", base]),
        ("pytorch base", 90, [sys.executable, torch, base, *pytorch]),
        ("operations f16", 60, [*operations, *f16]),
        ("step base f16", 60, [*bench, *batch, *f16, "--only", base]),
        ("kernels f16", 90, [ops, "f16", "--nocapture"]),
        ("demo", 90, [mvd, "demo", "--minutes", "0.7", "--out", os.path.join(work, "demo")]),
    ]
    if args.quick:
        all_parts = [part for part in all_parts if part[0] not in ("pytorch base", "kernels f16")]
    chosen = [part for part in all_parts if not args.only or any(only in part[0] for only in args.only)]
    if not chosen:
        sys.exit(f"gpu.py: --only {' '.join(args.only)}: no part has that in its name: {', '.join(p[0] for p in all_parts)}")
    return chosen


def unpack(work):
    for name in ("mvd", "ops"):
        path = os.path.join(work, name)
        with gzip.open(os.path.join(HERE, name + ".gz")) as packed, open(path, "wb") as program:
            shutil.copyfileobj(packed, program)
        os.chmod(path, 0o755)


def run(command, env, limit):
    """`(status, seconds, standard output, standard error)`; what takes longer than `limit` is stopped with its children."""
    clock = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            code = process.wait(limit)
            status = "ok" if code == 0 else f"failed: exit {code}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = f"stopped after {limit:.0f} s"
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return status, time.monotonic() - clock, *texts


def environments(work):
    """Ways of finding the Vulkan loader and the driver, the plainest first."""
    plain = dict(os.environ, MVD_CACHE=os.path.join(work, "cache"), XDG_RUNTIME_DIR=work, RUST_BACKTRACE="0")
    before = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    folders = [folder for folder in NVIDIA_LIBRARIES if os.path.isdir(folder)]

    def with_libraries(*own, **more):
        return plain | {"LD_LIBRARY_PATH": ":".join([*before, *folders, *(os.path.join(HERE, o) for o in own)])} | more

    egl = os.path.join(work, "egl_icd.json")
    with open(egl, "w") as file:
        icd = {"library_path": "libEGL_nvidia.so.0", "api_version": "1.3.277"}
        json.dump({"file_format_version": "1.0.0", "ICD": icd}, file)
    yield "the system's", plain
    yield "the pack's loader", with_libraries("lib")
    if os.path.exists(NVIDIA_ICD):
        yield f"the pack's loader, {NVIDIA_ICD}", with_libraries("lib", VK_DRIVER_FILES=NVIDIA_ICD)
        yield (
            f"the pack's loader and libraries, {NVIDIA_ICD}",
            with_libraries("lib", "lib-nvidia", VK_DRIVER_FILES=NVIDIA_ICD),
        )
    yield "the pack's loader and libraries, libEGL_nvidia", with_libraries("lib", "lib-nvidia", VK_DRIVER_FILES=egl)


def find_driver(work):
    """`(how, environment, adapter)` of the first way that shows a GPU, else that shows any adapter; and what was tried."""
    tried, fallback = [], None
    for how, env in environments(work):
        status, _, out, err = run([os.path.join(work, "mvd"), "adapters"], env, 30)
        tried.append({"how": how, "status": status, "output": (out + err)[-TAIL:]})
        adapters = [line.split(": ", 1)[1] for line in out.splitlines() if ": " in line]
        found = (how, env, adapters[0]) if adapters else None
        if found and ", Cpu, " not in adapters[0]:
            return found, tried
        fallback = fallback or found
    if fallback is None:
        print(json.dumps(tried, indent=1))
        sys.exit("gpu.py: no Vulkan adapter in any of these ways; is a driver with Vulkan installed?")
    return fallback, tried


def figures(name, out):
    """What a part printed, as data."""
    if name.startswith(("step", "operations")):
        return json.loads(out)
    if name.startswith("pytorch"):
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return None


def nvidia_smi():
    fields = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
    try:
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def measure(args, report, work):
    """Runs the parts into the report until the time is up."""
    deadline = time.monotonic() + 60 * args.minutes
    for name, limit, command in parts(args, work):
        left = deadline - time.monotonic()
        if left < 5:
            report["parts"][name] = {"status": "left out: no time left"}
            continue
        shown = [os.path.basename(command[0]), *command[1:]]
        status, seconds, out, err = run(command, report["environment"], min(limit, left))
        part = {"status": status, "seconds": round(seconds, 2), "command": " ".join(shown), "error": err[-TAIL:]}
        try:
            part["figures"] = figures(name, out) if status == "ok" or name.startswith("pytorch") else None
        except ValueError as broken:
            part["status"] = f"failed: no JSON: {broken}"
        if part.get("figures") is None:
            part["output"] = out[-TAIL:]
        report["parts"][name] = part
        print(f"{name:<16}{seconds:>8.1f} s  {status}", flush=True)
        if status != "ok":
            print("    " + (err.strip() or out.strip())[-600:].replace("\n", "\n    "), flush=True)
        write(args.out, report)


def write(path, report):
    shown = dict(report, environment={k: v for k, v in report["environment"].items() if k.startswith(("VK_", "LD_", "MVD_"))})
    with open(path + ".new", "w") as file:
        json.dump(shown, file, indent=1)
    os.replace(path + ".new", path)


def operations_table(found):
    rows = {}
    for precision in ("f32", "f16"):
        for operation in (found.get(f"operations {precision}") or {}).get("operations", []):
            rows.setdefault(operation["name"], {})[precision] = operation
    if rows:
        print(f"\n{'operation':<46}" + "".join(f"{p:<26}{'GFLOP/s':>10}{'limit':>8}  " for p in ("f32", "f16")) + "GB/s")
    for name, by in rows.items():
        line = f"{name:<46}"
        for precision in ("f32", "f16"):
            o = by.get(precision)
            share = f"{o['gflops']:>10.0f}{100 * o['of_limit']:>6.1f} %" if o and o["gflops"] else " " * 18
            line += f"{o['kernel'] if o else '':<26}{share}  "
        print(line + f"{next(iter(by.values()))['gbs']:.0f}")


def steps_table(found):
    for size in ("small", "base"):
        mvd = {p: (found.get(f"step {size} {p}") or {}).get("steps", [])[:1] for p in ("f32", "f16")}
        torch = {row["mode"]: row for row in found.get(f"pytorch {size}") or []}
        rows = [(f"mvd {p}", s) for p, each in mvd.items() for s in each]
        rows += [(f"PyTorch {mode}", row) for mode, row in torch.items()]
        if not rows:
            continue
        first = next((s for _, s in rows if "name" in s), {})
        name = first.get("name", size)
        print(f"\n{name}, batch {rows[0][1].get('batch')}:{'waited ms':>14}{'queued ms':>12}{'clips/s':>10}")
        for label, row in rows:
            queued = row.get("queued", row["seconds"])
            print(f"    {label:<20}{1e3 * row['seconds']:>14.2f}{1e3 * queued:>12.2f}{row.get('clips_per_second', 0):>10.1f}")
        for ours, theirs in (("f32", "f32"), ("f32", "tf32"), ("f16", "fp16"), ("f16", "bf16")):
            if mvd[ours] and theirs in torch:
                pair = [row.get("queued", row["seconds"]) for row in (mvd[ours][0], torch[theirs])]
                print(f"    time of mvd {ours} / PyTorch {theirs}: {pair[0] / pair[1]:.2f}")


def summary(report):
    found = {name: part.get("figures") for name, part in report["parts"].items()}
    print(f"\n{report['card']}, driver {report['driver']}")
    limits = next((f["limits"] for n, f in found.items() if f and n.startswith(("step", "operations"))), None)
    if limits:
        print("limits: " + ", ".join(f"{key} {value:.1f}" for key, value in limits.items() if value is not None))
    operations_table(found)
    steps_table(found)
    print()
    for name, part in report["parts"].items():
        print(f"{name:<16}{part.get('seconds', 0):>8.1f} s  {part['status']}")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--minutes", type=float, default=6, help="time of all parts together [6]")
    args.add_argument("--quick", action="store_true", help="small sizes: for slow adapters, and to try this script")
    args.add_argument("--only", nargs="+", metavar="PART", default=[], help="parts whose name holds one of these")
    args.add_argument("--batch", type=int, default=8, help="clips of a step [8]")
    args.add_argument("--torch-device", choices=["cuda", "cpu"], default="cuda", help="where PyTorch runs [cuda]")
    args.add_argument("--out", default="gpu-report.json", help="the report [gpu-report.json]")
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as work:
        unpack(work)
        (how, env, adapter), tried = find_driver(work)
        smi = nvidia_smi()
        report = {
            "card": (smi.split(",")[0] if smi else adapter.split(" (")[0]),
            "driver": smi.split(",")[1].strip() if smi else adapter,
            "adapter": adapter,
            "nvidia_smi": smi,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "system": {"platform": platform.platform(), "processors": os.cpu_count()},
            "loader": how,
            "tried": tried,
            "environment": env,
            "parts": {},
        }
        print(f"{adapter}\nloader and driver: {how}", flush=True)
        measure(args, report, work)
        summary(report)
    print(f"the report: {os.path.abspath(args.out)}")


main()
