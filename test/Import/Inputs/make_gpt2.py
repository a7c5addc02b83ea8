"""Writes a small GPT-2 directory: make_gpt2.py DIRECTORY [KEY=JSON ...]

The keys are put into config.json (null removes one)."""

import json
import struct
import sys
from pathlib import Path

config = {
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.125,
    "embd_pdrop": 0.25,
    "model_type": "gpt2",
    "n_embd": 6,
    "n_head": 3,
    "n_layer": 1,
    "n_positions": 7,
    "resid_pdrop": 0.25,
    "vocab_size": 11,
}
for argument in sys.argv[2:]:
    key, _, value = argument.partition("=")
    config[key] = json.loads(value)


def conv1d(name, into, out):
    return {f"{name}.weight": [into, out], f"{name}.bias": [out]}


def norm(name):
    return {f"{name}.weight": [6], f"{name}.bias": [6]}


# As the bare model writes them: without "transformer.".
tensors = {"wte.weight": [11, 6], "wpe.weight": [7, 6], **norm("ln_f")}
tensors |= norm("h.0.ln_1") | norm("h.0.ln_2") | conv1d("h.0.attn.c_attn", 6, 18) | conv1d("h.0.attn.c_proj", 6, 6)
tensors |= conv1d("h.0.mlp.c_fc", 6, 24) | conv1d("h.0.mlp.c_proj", 24, 6)
header, offset = {}, 0
for name, shape in tensors.items():
    size = 4
    for extent in shape:
        size *= extent
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
    offset += size
text = json.dumps(header).encode()
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=2))
(folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
