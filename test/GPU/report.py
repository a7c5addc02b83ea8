# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What run.py found, as JSON and as tables for docs/Benchmarks.md."""

import json
import statistics

# Of a loss: in the first steps, and later, when a weight at the threshold may
# have gone the other way by a rounding; bf16 rounds activations at every op.
BOUNDS = {"f32": (10, 1e-4, 2e-2), "bf16": (10, 3e-2, 0.1)}


def losses(directory):
    lines = map(json.loads, (directory / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "grad_norm" in line]


def compare_losses(recorded, found, precision):
    """How far the losses of a run are from the recorded ones."""
    wanted, ours = losses(recorded), losses(found)
    first, early, late = BOUNDS[precision]
    errors = [abs(a - b) for a, b in zip(wanted, ours)]
    largest = [max(errors[:first], default=float("inf")), max(errors[first:], default=0.0)]
    agree = len(ours) == len(wanted) and largest[0] <= early and largest[1] <= late
    return {"steps": len(ours), f"largest difference, {first} steps": largest[0], "later": largest[1], "agree": agree}


def row(measure, bar, value, kind, detail=""):
    """One of the table; `value` is None where something it needs is absent."""
    holds = None if value is None or bar is None else value >= bar if kind == "at least" else value <= bar
    return {"measure": measure, "value": value, "bar": bar, "kind": kind, "holds": holds, "detail": detail}


def kernel_rows(found):
    ours = {name: statistics.median(times) for name, times in found["ours"].items() if name != "bytes"}
    theirs = {name: statistics.median(times) for name, times in found["rivals"].items()}

    def ratio(over, under):
        return over / under if over and under else None

    def microseconds(*names):
        return ", ".join(f"{name} {times[key] * 1e6:.1f} us" for name, times, key in names if key in times)

    for name, product in found["products"].items():
        flops = 2 * product["tokens"] * product["rows"] * product["columns"]
        size = f"{product['tokens']} x {product['rows']} x {product['columns']}"
        value = ratio(theirs.get(name), ours.get(name))
        rates = [f"{flops / times[name] * 1e-12:.0f}" for times in (ours, theirs) if name in times]
        detail = f"{' and cuBLAS '.join(rates)} TFLOP/s" if value else ""
        measure = f"product {product['operation'].upper()}, {size}: speed against cuBLAS"
        yield row(measure, 0.9, value, "at least", detail)
    rate = found["ours"].get("bytes", {}).get("weight", 0) / ours["weight"] if "weight" in ours else None
    value = ratio(rate, ours.get("copy rate"))
    yield row("masked weight: share of the copy rate", 0.85, value, "at least", microseconds(("ours", ours, "weight")))
    rivals = microseconds(*((f"PyTorch's {name}", theirs, name) for name in ("kthvalue", "argsort")))
    for ending, inputs, bar in (
        ("", "random factors: scores are distinct", 30),
        (", equal scores", "V, B, R and C zero, W in bf16: many scores are equal", 60),
    ):
        value = ours.get(f"threshold{ending}")
        yield row(f"threshold, microseconds; {inputs}", bar, value and value * 1e6, "at most", value and rivals or "")
    value = ratio(ours.get("gradient"), theirs.get("tn"))
    detail = microseconds(("ours", ours, "gradient"), ("cuBLAS", theirs, "tn"))
    yield row("G with its accumulation: time over cuBLAS's G", 1.25, value, "at most", detail if value else "")
    dense = sum(theirs[name] for name in ("nt", "nn", "tn")) if {"nt", "nn", "tn"} <= theirs.keys() else None
    value = ratio(ours.get("layer"), dense)
    detail = microseconds(("ours", ours, "layer"), ("cuBLAS", {"all": dense}, "all")) if value else ""
    yield row("layer step: time over cuBLAS's three products", 1.3, value, "at most", detail)


def held_without_activations(plan):
    return sum(plan[kind] for kind in ("frozen", "trainable", "gradients", "optimizer", "state", "workspace"))


STEP_ROWS = (
    ("published", "eager as published / ours", 10),
    ("kthvalue", "eager with kthvalue / ours", None),
    ("published, compiled", "compiled by PyTorch, as published / ours", 3),
    ("kthvalue, compiled", "compiled by PyTorch, kthvalue / ours", None),
    ("lora", "dense LoRA eager / ours", None),
    ("lora, compiled", "dense LoRA compiled by PyTorch / ours", 0.7),
    ("mvp", "movement pruning eager / ours", 6),
)


def step_rows(found, what):
    wall = [one["wall_seconds"]["median"] for one in found["ours"]]
    ours = statistics.median(wall) if wall else None
    device = [one["entries"]["step"]["seconds"]["median"] for one in found["ours"] if "step" in one["entries"]]
    detail = f"ours {ours * 1e3:.2f} ms" if ours else ""
    detail += f", {statistics.median(device) * 1e3:.2f} of them on the GPU" if device else ""
    yield row(f"{what}, milliseconds", 17, ours and ours * 1e3, "at most", detail)
    packed = [one["entries"]["step"]["seconds"]["median"] for one in found["packed"] if "step" in one["entries"]]
    value = statistics.median(packed) / statistics.median(device) if packed and device else None
    yield row(f"{what}: without padding, half of the tokens / all", None, value, "at most")
    for name, text, bar in STEP_ROWS:
        times = found["rivals"].get(name)
        value = statistics.median(times) / ours if times and ours else None
        took = f"{statistics.median(times) * 1e3:.2f} ms" if value else found["absent"].get(name, "")
        yield row(f"{what}: {text}", bar, value, "at least", took)
    plan = found["ours"][0]["memory"] if wall else None
    for name, text, _ in STEP_ROWS:
        memory = found["memory"].get(name)
        if memory and "held" in memory and plan:
            yield row(f"{what}: peak memory, {text}", None, memory["bytes"] / plan["peak"], "at least")
    memory = found["memory"].get("mvp", {})
    value = held_without_activations(plan) / memory["held"] if plan and memory.get("held") else None
    yield row(f"{what}: memory without activations over movement pruning's", 0.1, value, "at most")


def table(rows, devices=()):
    where = f", on {' and '.join(devices)}" if devices else ""
    lines = [f"| measure{where} | value | bar | holds | |", "|---|---|---|---|---|"]
    for one in rows:
        value = "absent" if one["value"] is None else f"{one['value']:.3g}"
        bar = "" if one["bar"] is None else f"{one['kind']} {one['bar']:g}"
        holds = {None: "", True: "yes", False: "**no**"}[one["holds"]]
        lines.append(f"| {one['measure']} | {value} | {bar} | {holds} | {one['detail']} |")
    return lines


def op_table(entry):
    """Where the time of an entry point goes."""
    lines = ["| op | number | ms | TFLOP/s | GB/s | of its ceiling |", "|---|---|---|---|---|---|"]
    for op in entry["ops"]:
        share = f"{100 * op['floor_seconds'] / op['seconds']:.0f} %" if op["floor_seconds"] else ""
        rates = f"{op['flops'] / op['seconds'] * 1e-12:.1f} | {op['bytes'] / op['seconds'] * 1e-9:.0f}"
        lines.append(f"| {op['op']} | {op['count']} | {op['seconds'] * 1e3:.3f} | {rates} | {share} |")
    return lines


def verdict(rows):
    """What falls short, and what could not be told."""
    measured = [one for one in rows if one["holds"] is not None]
    short = [f"{one['measure']} ({one['value']:.3g}, {one['kind']} {one['bar']:g})" for one in measured if not one["holds"]]
    absent = [one["measure"] for one in rows if one["holds"] is None and one["bar"] is not None]
    yield f"{len(measured) - len(short)} of {len(measured)} bars are reached."
    if short:
        yield f"Short of theirs: {'; '.join(short)}."
    if absent:
        yield f"Not measured: {'; '.join(absent)}."


def sweep_tables(found):
    """Of each group its variants, the fastest first."""
    for name, group in found["groups"].items():
        rivals = {rival: statistics.median(times) for rival, times in group["rivals"].items()}
        told = ", ".join(f"{rival} {seconds * 1e6:.1f} us" for rival, seconds in rivals.items())
        yield from ("", f"{name}{': ' + told if told else ''}", "")
        yield from ("| variant | us | spread | TFLOP/s | GB/s | against cuBLAS | options |", "|---|---|---|---|---|---|---|")
        variants = [one for one in group["variants"] if one.get("seconds")]
        for one in sorted(variants, key=lambda one: statistics.median(one["seconds"])):
            median, times = statistics.median(one["seconds"]), sorted(one["seconds"])
            against = f"{rivals['cuBLAS'] / median:.3f}" if "cuBLAS" in rivals else ""
            rates = f"{one['flops'] / median * 1e-12:.0f} | {one['bytes'] / median * 1e-9:.0f}"
            spread = f"{times[0] * 1e6:.1f} to {times[-1] * 1e6:.1f}"
            yield f"| {one['name']} | {median * 1e6:.1f} | {spread} | {rates} | {against} | {one['options']} |"
        for one in group["variants"]:
            if one.get("error"):
                yield f"| {one['name']} | FAILED: {one['error']} | | | | | {one['options']} |"


def write(found, settings, results):
    """Leaves results.json and results.md; returns the latter."""
    rows, devices = [], set()
    if "kernels" in found:
        rows += kernel_rows(found["kernels"])
        devices |= set(found["kernels"]["devices"])
    lines = []
    if "steps" in found:
        name = "step" if settings["tiny"] else "BERT-large step"
        rows += step_rows(found["steps"], f"{name}, {settings['step']['batch']} x {settings['step']['length']}")
        for one in found["steps"]["ours"][:1]:
            devices.add(one["device"])
            lines += [f"A copy moves {one['copy_bytes_per_second'] * 1e-12:.2f} TB/s.", ""]
        logits = ", ".join(f"{name} {length:.5g}" for name, (length, _) in found["steps"]["logits"].items())
        lines += [f"Length of the logits, {100 * found['steps']['bound']:.1f} % apart at most: {logits}.", ""]
    if rows:
        lines += [*table(rows, sorted(devices)), "", *verdict(rows)]
    if "sweep" in found:
        lines += [f"Variants, on {', '.join(found['sweep']['devices'])}.", *sweep_tables(found["sweep"])]
    checks = found.get("checks")
    if checks:
        lines += ["", f"Kernels: {checks['cases'] - len(checks['failed'])} of {checks['cases']} cases are right."]
        if checks["absent"]:
            lines.append(f"{len(checks['absent'])} cases have no bundle: checks/NAME.absent says why.")
    for name, one in found.get("training", {}).items():
        numbers = ", ".join(f"{key} {value:.2g}" for key, value in one.items() if key not in ("steps", "agree"))
        lines.append(f"{name}: {one['steps']} steps, losses {'agree' if one['agree'] else 'DIFFER'} ({numbers}).")
    for name, one in found.get("parity", {}).items():
        worst = max(one, key=one.get)
        lines.append(f"{name}: the CPU's masks, and all else is right; the worst, {worst}, is {one[worst]:.2g} of what rounding explains.")
    for tool, one in found.get("sanitizer", {}).items():
        lines.append(f"{tool}: {one if isinstance(one, str) else one['says']}")
    for one in found.get("steps", {}).get("ours", [])[:1]:
        for entry in ("select", "forward_backward", "apply"):
            if entry in one["entries"]:
                seconds = one["entries"][entry]["seconds"]["median"]
                lines += ["", f"{entry}, {seconds * 1e3:.3f} ms:", "", *op_table(one["entries"][entry])]
    lines += ["", *[f"FAILED: {failure}" for failure in found["failures"]]]
    lines.append(f"{found['seconds'].get('whole', 0)} s: {found['seconds']}")
    text = "\n".join(lines) + "\n"
    (results / "results.md").write_text(text)
    (results / "results.json").write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")
    return text
