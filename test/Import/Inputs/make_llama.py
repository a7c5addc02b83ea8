"""Writes a small Llama directory: make_llama.py DIRECTORY [KEY=JSON ...]

The keys are put into config.json (null removes one); the tensors are those of
a Qwen2 (biases of query, key and value) if that is the model_type."""

import json
import struct
import sys
from pathlib import Path

config = {
    "architectures": ["LlamaForCausalLM"],
    "head_dim": 4,
    "hidden_size": 6,
    "intermediate_size": 10,
    "max_position_embeddings": 7,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "vocab_size": 11,
}
for argument in sys.argv[2:]:
    key, _, value = argument.partition("=")
    config[key] = json.loads(value)

layer = "model.layers.0."
tensors = {"model.embed_tokens.weight": [11, 6], "model.norm.weight": [6], "lm_head.weight": [11, 6]}
tensors |= {layer + name + ".weight": [6] for name in ("input_layernorm", "post_attention_layernorm")}
tensors |= {layer + f"mlp.{name}_proj.weight": [10, 6] for name in ("gate", "up")}
tensors |= {layer + "mlp.down_proj.weight": [6, 10], layer + "self_attn.o_proj.weight": [6, 16]}
for name, rows in (("q", 16), ("k", 8), ("v", 8)):
    tensors[layer + f"self_attn.{name}_proj.weight"] = [rows, 6]
    if config["model_type"] == "qwen2":
        tensors[layer + f"self_attn.{name}_proj.bias"] = [rows]
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
