"""Writes a small BERT directory: make_bert.py DIRECTORY [KEY=JSON ...]

The keys are put into config.json (null removes one). The special keys
`drop=NAME` and `cut=BYTES` leave a tensor out and cut the file short.
"""

import json
import random
import struct
import sys
from pathlib import Path

config = {
    "architectures": ["BertForSequenceClassification"],
    "attention_probs_dropout_prob": 0.125,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.25,
    "hidden_size": 6,
    "initializer_range": 0.5,
    "intermediate_size": 10,
    "layer_norm_eps": 1e-6,
    "max_position_embeddings": 7,
    "model_type": "bert",
    "num_attention_heads": 3,
    "num_hidden_layers": 1,
    "type_vocab_size": 2,
    "vocab_size": 11,
}


def linear(name, out, into):
    return {f"{name}.weight": [out, into], f"{name}.bias": [out]}


def norm(name):
    return {f"{name}.weight": [6], f"{name}.bias": [6]}


layer = "bert.encoder.layer.0."
tensors = {
    "bert.embeddings.word_embeddings.weight": [11, 6],
    "bert.embeddings.position_embeddings.weight": [7, 6],
    "bert.embeddings.token_type_embeddings.weight": [2, 6],
    **norm("bert.embeddings.LayerNorm"),
    **linear(layer + "attention.self.query", 6, 6),
    **linear(layer + "attention.self.key", 6, 6),
    **linear(layer + "attention.self.value", 6, 6),
    **linear(layer + "attention.output.dense", 6, 6),
    **norm(layer + "attention.output.LayerNorm"),
    **linear(layer + "intermediate.dense", 10, 6),
    **linear(layer + "output.dense", 6, 10),
    **norm(layer + "output.LayerNorm"),
    **linear("bert.pooler.dense", 6, 6),
    **linear("classifier", 2, 6),
}

directory, cut = Path(sys.argv[1]), 0
for argument in sys.argv[2:]:
    key, value = argument.split("=", 1)
    if key == "drop":
        del tensors[value]
    elif key == "cut":
        cut = int(value)
    elif value == "null":
        del config[key]
    else:
        config[key] = json.loads(value)

header, data, values = {}, b"", random.Random(1)
for name, shape in sorted(tensors.items()):
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    begin = len(data)
    data += struct.pack(f"<{count}f", *(values.gauss(0, 1) for _ in range(count)))
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
text = json.dumps(header).encode()
contents = struct.pack("<Q", len(text)) + text + data

directory.mkdir(parents=True, exist_ok=True)
(directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
(directory / "model.safetensors").write_bytes(contents[: len(contents) - cut])
