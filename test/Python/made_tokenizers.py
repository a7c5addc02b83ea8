# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small tokenizers that several tests share."""

import json

import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers


def metaspace_tokenizer(corpus):
    """As Llama has: BPE over words that begin with a metaspace, bytes for what is unknown."""
    impl = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    impl.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    special = ["<unk>", "<s>", "</s>"]
    impl.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    spec = json.loads(impl.to_str())
    for byte in range(256):
        spec["model"]["vocab"].setdefault(f"<0x{byte:02X}>", len(spec["model"]["vocab"]))
    impl = tokenizers.Tokenizer.from_str(json.dumps(spec))
    frame = [("<s>", impl.token_to_id("<s>"))]
    impl.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=frame)
    return impl
