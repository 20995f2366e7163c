"""Whole-process time and peak memory: `edgeworthy export` against the platform guide's method.

Both read the same weights from a hub cache that this script makes (random ones, made sensitive: no hub
is asked), and end with a file on disk. Ours includes the rules and the proof. Times and memory come
from separate runs: watching a process tree slows it down.

    python benchmarks/export_vs_guide.py [--runs 5] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from measuring import peak_bytes, timed

HERE = Path(__file__).parent
MODELS = ("resnet18.a1_in1k", "tf_efficientnet_lite0.in1k")
TARGET_RATIO = 0.85


def fill_cache(home: Path, name: str) -> None:
    """Weights for one model where huggingface_hub looks for them."""
    from edgeworthy.sources.torchvision_shim import mend_torchvision

    mend_torchvision()
    import timm
    import torch
    from safetensors.torch import save_file

    from edgeworthy.sources.untrained import make_sensitive

    torch.manual_seed(1)
    model = timm.create_model(name, pretrained=False)
    make_sensitive(model, model.pretrained_cfg["input_size"])
    repository = home / "hub" / f"models--timm--{name}"
    snapshot = repository / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    save_file(model.state_dict(), snapshot / "model.safetensors")


def commands(name: str, folder: Path) -> dict[str, list[str]]:
    """Both methods as command lines."""
    ours = ["-m", "edgeworthy", "export", f"timm:{name}", "--force", "-o", str(folder / "ours.onnx")]
    theirs = [str(HERE / "guide_export.py"), name, str(folder / "theirs.onnx")]
    return {"edgeworthy": [sys.executable, *ours], "guide": [sys.executable, *theirs]}


def measure(name: str, runs: int, environment: dict[str, str], folder: Path) -> dict[str, float]:
    """Medians of both methods for one model, in turns."""
    both = commands(name, folder)
    seconds: dict[str, list[float]] = {method: [] for method in both}
    peaks: dict[str, list[int]] = {method: [] for method in both}
    for method, command in both.items():
        timed(command, environment)  # fills the disk's cache
        peaks[method] += [peak_bytes(command, environment) for _ in range(3)]
    for turn in range(runs):
        for method in sorted(both, reverse=bool(turn % 2)):
            seconds[method].append(timed(both[method], environment))
    ours, theirs = (statistics.median(seconds[method]) for method in both)
    ours_peak, theirs_peak = (statistics.median(peaks[method]) for method in both)
    pairs = [a / b for a, b in zip(seconds["edgeworthy"], seconds["guide"], strict=True)]
    return {
        "model": name,
        "edgeworthy_s": round(ours, 2),
        "guide_s": round(theirs, 2),
        "time_ratio": round(ours / theirs, 3),
        "time_ratio_pairs": [round(min(pairs), 3), round(max(pairs), 3)],
        "edgeworthy_mb": round(ours_peak / 1e6),
        "guide_mb": round(theirs_peak / 1e6),
        "memory_ratio": round(ours_peak / theirs_peak, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each method (default 5)")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environment = {**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
        results = []
        for name in options.models:
            fill_cache(folder, name)
            results.append(measure(name, options.runs, environment, folder))
    print(f"{'model':<28}{'time, s':>18}{'ratio':>8}{'(pairs)':>18}{'peak, MB':>16}{'ratio':>8}")
    for row in results:
        low, high = row["time_ratio_pairs"]
        print(
            f"{row['model']:<28}{row['edgeworthy_s']:>8} / {row['guide_s']:<7}{row['time_ratio']:>8}"
            f"{f'{low}..{high}':>18}{row['edgeworthy_mb']:>8} / {row['guide_mb']:<5}{row['memory_ratio']:>8}"
        )
    print(f"edgeworthy / guide, medians of {options.runs}; target: time {TARGET_RATIO}, memory 1.0")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
