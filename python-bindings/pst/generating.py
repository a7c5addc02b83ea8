# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A saved language model that goes on with texts: `pst.load(directory).generate(prompts)`."""

from __future__ import annotations

import difflib
import json
import os
import sys

from . import _pst
from .arguments import Switch
from .command import UsageError, given_options, options_of, warn
from .errors import DataError
from .kept import KeptModels
from .language import predicts_tokens
from .options import Options
from .outputs import check_output_file, write_rows
from .streams import tell
from .tokenizer import Tokenizer

OPTIONS = {option["name"]: option for option in _pst.generation_option_table()}

# Tokens of prompts that are read together.
CHUNK = 64
# A program has room for a multiple of so many tokens, lest every length have its own.
_ROOM = 128


class Generator:
    """A model directory that predicts tokens.

        model = pst.load("runs/1/model")
        model.generate("Once upon a time", max_new_tokens=40)

    Options are those of `pst generate`, but for the generation's own, which are
    of generate(). A program is compiled at the first use, and again when longer
    prompts come, or another number of them; those used last are kept, and share
    the model's weights. Threads may generate at once. Raises DataError,
    CompileError, ValueError, or pst.Error.
    """

    def __init__(self, directory, **options):
        from .trainer import read_config

        self.options = Options.make(**options)
        self.options.check(trains=False)
        self.directory = os.fspath(directory)
        self.config = read_config(self.directory)
        if not predicts_tokens(self.options.implied_task, self.config):
            raise DataError(f"{self.directory}: is no language model, which alone generates texts; 'pst predict' gives its classes")
        self._tokenizer: Tokenizer | None = None
        self._kept = KeptModels(self.directory)  # by rows, and tokens of a row
        if self.options.num_threads:
            _pst.set_num_threads(self.options.num_threads)

    @property
    def tokenizer(self) -> Tokenizer:
        """Of texts; prompts that are tokens already need none."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(self.directory)
            warn(self._tokenizer.warnings)
        return self._tokenizer

    def generate(self, prompts, *, on_text=None, **options) -> list[dict]:
        """What follows each prompt: its `text`, its tokens as `output_ids`, and
        the `finish_reason`, "stop" for a token that ends a text or "length";
        of several beams the `score`, too.

        `prompts` is a text or a list of texts, or of lists of tokens (which get
        no `text`). Options are those of transformers' generate(): max_new_tokens,
        num_beams, length_penalty, early_stopping, no_repeat_ngram_size,
        do_sample, temperature, top_k, top_p, eos_token_id, and a seed.
        `on_text(number, text)` is called with each further piece of a text as
        soon as it is there, but not of beams. `last_run` then says how many
        tokens there were, and their seconds."""
        wanted = generation_options(options)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not texts:
            return []
        are_texts = all(isinstance(text, str) for text in texts)
        if are_texts:
            ids = self.tokenizer.encode_pieces(texts, "the prompts", framed=True)
        else:
            ids = [_tokens(number, row) for number, row in enumerate(texts)]
        decoders = [self.tokenizer.decoder(row) for row in ids] if are_texts else []

        def on_token(number, token):
            if piece := decoders[number].add(token):
                on_text(number, piece)

        model = self._model_for(ids, wanted)
        found = _pst.generate(model, ids, wanted, self.directory, on_token if are_texts and on_text else None)
        rows = found.pop("continuations")
        self.last_run = found
        for number, (row, decoder) in enumerate(zip(rows, decoders)):
            rows[number] = {"text": decoder.text_of(row["output_ids"]), **row}
            if on_text and (rest := rows[number]["text"][decoder.given :]) and wanted.num_beams == 1:
                on_text(number, rest)
        return rows

    def _model_for(self, ids: list[list[int]], wanted) -> "_pst.Model":
        """A model with room for these prompts and what follows them."""
        length = max(map(len, ids)) + wanted.max_new_tokens
        table, seen = (self.config.get(name) for name in ("n_positions", "max_position_embeddings"))
        # Rotary positions go on beyond those that the model has seen.
        most = table if isinstance(table, int) else max(length, seen) if isinstance(seen, int) else length + _ROOM
        if length > most:
            raise DataError(
                f"{self.directory}: the longest prompt has {max(map(len, ids))} tokens, and {wanted.max_new_tokens} are to follow "
                f"(--max_new_tokens), but the model has {most} positions"
            )
        at_once = min(self.options.per_device_eval_batch_size or 8, 1 << (len(ids) - 1).bit_length())
        rows = at_once * wanted.num_beams
        room = min(-(-length // _ROOM) * _ROOM, most)
        _, model = self._kept.get(
            (rows, room),
            # Each token takes all rows, and no more for the room.
            lambda count, space: count == rows and space >= length,
            lambda: program_settings(self.options, rows, room),
            lambda settings: settings["batch_size"],
        )
        return model


def program_settings(options: Options, rows: int, room: int) -> dict:
    """What `_pst.compile_model` is told of a program that generates `rows` texts at once, of `room` tokens each."""
    return {**options.of_evaluation(CHUNK, rows, task="lm"), "cache_length": room, "new_head": False}


def _tokens(number: int, row) -> list[int]:
    try:
        return [int(token) for token in row]
    except (TypeError, ValueError):
        raise DataError(f"the prompts:{number + 1}: expected a text, or the numbers of its tokens in all of them") from None


def generation_options(values: dict) -> "_pst.GenerationOptions":
    """Raises TypeError for a name that is none, ValueError for a value."""
    options = _pst.GenerationOptions()
    for name, value in values.items():
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, 1)
            raise TypeError(f"there is no option '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))
        if value is not None:
            setattr(options, name, value)
    options.check()
    return options


def add_arguments(parser) -> None:
    """The flags of a generation."""
    import argparse

    for name, option in OPTIONS.items():
        if option["type"] == "flag":
            parser.add_argument("--" + name, action=Switch, default=argparse.SUPPRESS, help=option["help"])
            continue
        default = option["default"]
        text = option["help"] + ("" if default in ([], None) else f" (default: {default})")
        metavar = {"integer": "N", "integers": "N,..."}.get(option["type"], "X")
        more = {"choices": option["choices"]} if option["choices"] else {"metavar": metavar}
        parser.add_argument("--" + name, default=argparse.SUPPRESS, help=text, **more)


def generate(args) -> int:
    """`pst generate`"""
    if bool(args.prompt) == bool(args.file):
        raise UsageError("say what to go on with: either --prompt TEXT or --file FILE")
    if args.output_file:
        check_output_file(args.output_file, "--output_file", (args.file,))
    options_of(args).check(trains=False)
    # The seed and others are options of a training run, too.
    wanted = {name: getattr(args, name) for name in OPTIONS if name in args}
    given = {name: value for name, value in given_options(args).items() if name not in OPTIONS}
    generation_options(wanted)
    model = Generator(args.model_name_or_path, **given)
    streams = args.prompt and not args.output_file

    def show(_, text):
        sys.stdout.write(text)
        sys.stdout.flush()

    if args.prompt:
        prompts = [args.prompt]
    else:
        prompts = _read_prompts(args.file, model.options)
    rows = model.generate(prompts, on_text=show if streams else None, **wanted)
    if streams:
        # Of beams, nothing was said on the way.
        print("" if int(wanted.get("num_beams", 1)) == 1 else rows[0]["text"])
    elif args.output_file:
        write_rows(args.output_file, rows)
    else:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    run = model.last_run
    rate = run["new_tokens"] / max(run["step_seconds"], 1e-9)
    tell(
        f"{run['prompt_tokens']} tokens read in {run['prompt_seconds']:.3f} s, {run['new_tokens']} generated in "
        f"{run['step_seconds']:.3f} s: {rate:.1f} tokens/s\n"
    )
    return 0


def _read_prompts(path, options: Options) -> list[str]:
    from .data import read_examples

    examples = read_examples(
        path, text_column=options.text_column, read_labels=False, answers=True, guess=True, skip_bad_rows=options.skip_bad_rows
    )
    warn(examples.warnings)
    return examples.texts
