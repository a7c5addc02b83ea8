# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`pst.pipeline`: a saved model in a pipeline of transformers, which reads texts and words results as its users know it."""

from __future__ import annotations

import os

from .classifier import load
from .errors import MissingPackageError
from .tasks import TOKEN_CLASSES

# transformers' names, and what a model must do for them.
_TASKS = {
    "text-classification": False,
    "sentiment-analysis": False,
    "token-classification": True,
    "ner": True,
}


def pipeline(task: str, directory, **options):
    """transformers.pipeline(task), whose model is compiled for its own zeros.

        classify = pst.pipeline("text-classification", "runs/1/model")
        classify("a good film")    # [{"label": "positive", "score": 0.97}]

    `task` is "text-classification" or "token-classification"; options are those
    of pst.load. Raises ValueError for another task, DataError, CompileError,
    and MissingPackageError without transformers and torch.
    """
    if task not in _TASKS:
        raise ValueError(f"there is no pipeline for '{task}': expected one of {', '.join(_TASKS)}")
    try:
        import torch
        import transformers
        from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
    except ImportError as error:
        raise MissingPackageError(f"pst.pipeline needs transformers and torch ({error}): pip install transformers torch") from None
    directory = os.fspath(directory)
    classifier = load(directory, **options)
    gives_tags = classifier.labels.task == TOKEN_CLASSES
    if gives_tags != _TASKS[task]:
        fits = next(name for name, tags in _TASKS.items() if tags == gives_tags)
        raise ValueError(f"{directory}: the model is for the pipeline '{fits}', not for '{task}'")
    output = TokenClassifierOutput if gives_tags else SequenceClassifierOutput

    class Model(transformers.PreTrainedModel):
        """The compiled model, with the face that pipelines expect."""

        def __init__(self, config):
            super().__init__(config)
            # By it pipelines learn where inputs have to lie, and their type.
            self.place = torch.nn.Parameter(torch.empty(0), requires_grad=False)

        def forward(self, input_ids, attention_mask=None, token_type_ids=None, **_):
            return output(logits=classifier(input_ids, attention_mask, token_type_ids))

    config = transformers.AutoConfig.from_pretrained(directory)
    # The name that they know it by.
    Model.__name__ = (config.architectures or ["Model"])[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    tokenizer.padding_side = "right"
    return transformers.pipeline(task, model=Model(config), tokenizer=tokenizer, device="cpu")
