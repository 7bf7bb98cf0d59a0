"""One prepared run for a machine with a GPU: ``python -m fdetect_jax.bench.gpu --minutes 8``.

In: minutes. Out: ``gpu.json`` and ``gpu.md`` in --output, written after each part, so that whatever ends the run leaves
what was measured. It installs nothing and reads nothing but this package; PyTorch is the peer where it is installed.
Each part is a process that is ended when the time is over; what failed or was left out is named with its reason.
"""

import argparse
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdetect_jax.bench.measure import BenchError, measure, peaks, require_torch
from fdetect_jax.bench.setting import Setting
from fdetect_jax.errors import UserError, exit_status
from fdetect_jax.files import check_folder, write_atomic
from fdetect_jax.host import set_up

_LEAST = 20.0  # seconds; a part with less left is not begun
_PEERS = ("eager channels-last", "compile channels-last")
_REPEATS = 5
# Of B4: kernel, stride, how much smaller than the image the map is, channels.
_DEPTHWISE = ((3, 1, 2, 24), (3, 2, 2, 144), (5, 2, 4, 192), (5, 1, 16, 672), (5, 1, 16, 960))


@dataclasses.dataclass(frozen=True)
class Part:
    """One measurement. name: a benchmark, or "depthwise". setting: fields of ``Setting``. peer: of PyTorch, or ""."""

    title: str
    name: str
    setting: dict[str, Any]
    peer: str = ""


def parts(tiny: bool, torch: bool) -> list[Part]:
    """What is measured, the most wanted first. tiny: sizes for a test on a CPU."""
    half = {"dtype": "float32" if tiny else "bfloat16"}
    small = {"detector": "efficientnet_b0", "pixels": 64, "resolution": 32, "channel_base": 256, "attack_steps": 2}
    own = half | (small if tiny else {})
    face = own | {"batch": 2 if tiny else 32}
    paper = own | {"batch": 2 if tiny else 16, "remat": True}
    paper |= {} if tiny else {"resolution": 1024, "channel_base": 32768}
    peers = (_PEERS[:1] if tiny else _PEERS) if torch else ("",)
    return [
        Part("B4, inference", "b4_forward", face, peers[0]),
        Part("B4, training step (SAM)", "b4_sam_step", face, peers[0]),
        Part("depthwise convolutions", "depthwise", face),
        Part("attack in W, 256 px", "latent_pgd", own | {"batch": 2 if tiny else 16}, peers[0]),
        Part("Algorithm 1 at the paper's size", "adv_step", paper, peers[0]),
        *(
            Part(f"{title} ({peer})", name, face, peer)
            for peer in peers[1:]
            for title, name in (("B4, inference", "b4_forward"), ("B4, training step (SAM)", "b4_sam_step"))
        ),
    ]


def run(minutes: float, output: Path, tiny: bool = False, torch: bool | None = None) -> dict[str, Any]:
    """Measures every part within ``minutes`` and returns what ``gpu.json`` holds.

    torch: compare with PyTorch; None: where it is installed.

    Raises:
      UserError: minutes that are not positive, or a folder that cannot be written.
    """
    if not minutes > 0:
        raise UserError(f"--minutes: found {minutes}, wanted more than 0")
    check_folder(output, "--output")
    torch = _has_torch() if torch is None else torch
    end = time.monotonic() + 60 * minutes
    found: dict[str, Any] = {"machine": {}, "rows": [], "depthwise": [], "left_out": []}
    found["machine"] = _ask({"what": "machine", "tiny": tiny}, end) | {"minutes": minutes}
    for part in parts(tiny, torch):
        left = end - time.monotonic()
        if left < (0 if tiny else _LEAST):
            found["left_out"].append({"title": part.title, "reason": f"{max(0, left):.0f} s were left"})
            continue
        print(f"{part.title} …", flush=True)
        answer = _ask({"what": part.name, "part": dataclasses.asdict(part)} | found["machine"].get("peaks", {}), end)
        if "error" in answer:
            found["left_out"].append({"title": part.title, "reason": answer["error"]})
        elif part.name == "depthwise":
            found["depthwise"] = answer["rows"]
        else:
            found["rows"].append({"title": part.title} | answer["row"])
            if trouble := answer.get("trouble"):
                found["left_out"].append({"title": f"{part.title}, PyTorch", "reason": trouble})
        _write(found, output)
    _write(found, output)
    print(table(found))
    return found


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {text}" for name, text in machine.get("versions", {}).items())
    lines = [
        f"{machine.get('device', 'no device')}; {versions}; {machine.get('date', '')}",
        "",
        "| what | batch | dtype | this project | PyTorch | ratio | share of the roofline | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        theirs = "–" if row["peer_seconds"] is None else f"{1000 * row['peer_seconds']:.1f} ms, {row['peer']}"
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        share = "–" if row["roofline"] is None else f"{row['roofline']:.0%}"
        cells = [row["title"], row["batch"], row["dtype"], f"{1000 * row['seconds']:.1f} ms", theirs, ratio, share]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['peak_memory'] / 1e9:.1f} GB |")
    if found["depthwise"]:
        lines += ["", "| depthwise, kernel, stride, shape | shifted products | grouped convolution |", "|---|---|---|"]
        for row in found["depthwise"]:
            times = [
                f"{1000 * row[form]:.2f} / {1000 * row[form + ' gradient']:.2f} ms" for form in ("shifted", "grouped")
            ]
            lines.append(
                f"| {row['kernel']}, {row['stride']}, {row['shape']} (forward / gradient) | {' | '.join(times)} |"
            )
    lines += ["", *(f"Left out: {one['title']}: {one['reason']}" for one in found["left_out"])]
    return "\n".join(lines).rstrip() + "\n"


def _write(found: dict[str, Any], output: Path) -> None:
    write_atomic(output / "gpu.json", json.dumps(found, indent=2) + "\n")
    write_atomic(output / "gpu.md", table(found))


def _has_torch() -> bool:
    try:
        require_torch()
    except UserError:
        return False
    return True


def _ask(task: dict[str, Any], end: float) -> dict[str, Any]:
    """The answer of a process of its own, or {"error"}; the process and its children end with the time."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "fdetect_jax.bench.gpu", "--part", json.dumps(task), "--output", str(answer)]
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        try:
            code = process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return {"error": "the time was over"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if not answer.is_file():
            return {"error": f"its process ended with status {code}"}
        return json.loads(answer.read_text())


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    """What a part's process measures."""
    try:
        if task["what"] == "machine":
            return _machine(task["tiny"])
        part = Part(**task["part"])
        if part.name == "depthwise":
            return {"rows": depthwise(Setting(**part.setting))}
        limits = {name: task[name] for name in ("flops_per_s", "bytes_per_s")}
        return _measured(part, limits)
    except (BenchError, UserError) as error:
        return {"error": " ".join(str(error).split())[:300]}


def _measured(part: Part, limits: dict[str, float]) -> dict[str, Any]:
    """The row of a benchmark; without its peer where that fails, whose reason it then has."""
    setting, trouble = Setting(**part.setting), None
    repeats = 1 if setting.pixels < 100 else _REPEATS  # a trial
    if part.peer:
        try:
            row = measure(part.name, setting, limits, repeats, True, [part.peer])
            return {"row": dataclasses.asdict(row)}
        except BenchError as error:
            trouble = " ".join(str(error).split())[:300]
    row = dataclasses.asdict(measure(part.name, setting, limits, repeats))
    return {"row": row} | ({"trouble": trouble} if trouble else {})


def _machine(tiny: bool) -> dict[str, Any]:
    import importlib.metadata as metadata

    import jax

    versions = {"Python": sys.version.split()[0]}
    for name in ("jax", "torch"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    limits = {"flops_per_s": 1e12, "bytes_per_s": 1e11} if tiny else peaks(Setting(dtype="bfloat16"))
    limits = {name: limits[name] for name in ("flops_per_s", "bytes_per_s")}
    date = time.strftime("%Y-%m-%d")
    return {"device": jax.devices()[0].device_kind, "versions": versions, "date": date, "peaks": limits}


def depthwise(setting: Setting) -> list[dict[str, Any]]:
    """Both forms of B4's depthwise convolutions: seconds of the result, and of both gradients.

    "shifted": a sum of shifted products, as ``nn.conv`` has it. "grouped": XLA's grouped convolution.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    from fdetect_jax.nn.conv import DIMENSIONS, depthwise_conv2d, same_padding

    def grouped(x: jax.Array, kernel: jax.Array, stride: int, pads: Any) -> jax.Array:
        weights = kernel[:, :, None].astype(x.dtype)
        return lax.conv_general_dilated(
            x, weights, (stride, stride), pads, dimension_numbers=DIMENSIONS, feature_group_count=x.shape[-1]
        )

    rows = []
    for kernel, stride, side, channels in _DEPTHWISE:
        size = max(4, setting.pixels // side)
        pads = (same_padding(size, kernel, stride),) * 2
        x = jax.random.normal(jax.random.key(0), (setting.batch, size, size, channels), jnp.dtype(setting.dtype))
        w = jax.random.normal(jax.random.key(1), (kernel, kernel, channels), jnp.float32)
        row: dict[str, Any] = {"kernel": kernel, "stride": stride, "shape": f"{size} x {size} x {channels}"}
        for name, form in (("shifted", depthwise_conv2d), ("grouped", grouped)):
            once = jax.jit(lambda x, w, form=form, s=stride, p=pads: form(x, w, s, p))
            both = jax.jit(
                jax.grad(lambda x, w, form=form, s=stride, p=pads: jnp.sum(jnp.square(form(x, w, s, p))), (0, 1))
            )
            row[name], row[f"{name} gradient"] = (_seconds(call, x, w) for call in (once, both))
        rows.append(row)
    return rows


def _seconds(call: Any, *arguments: Any) -> float:
    """The median of several calls, after one."""
    import jax

    jax.block_until_ready(call(*arguments))
    spent = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status, see ``errors.exit_status``."""
    parser = argparse.ArgumentParser(prog="python -m fdetect_jax.bench.gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="how long it may take (default: 8)")
    parser.add_argument("--output", type=Path, default=Path(), help="the folder of gpu.json and gpu.md (default: here)")
    parser.add_argument("--tiny", action="store_true", help="sizes for a trial on a CPU")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with exit_status() as status:
        set_up()
        if options.part:
            write_atomic(options.output, json.dumps(_answer(json.loads(options.part))))
        else:
            run(options.minutes, options.output, options.tiny)
    return status.code


if __name__ == "__main__":
    sys.exit(main())
