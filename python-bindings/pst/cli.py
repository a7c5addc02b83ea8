# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `pst`."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys

from .arguments import Parser, add_hugging_face_flags, read_config_file
from .command import UsageError, given_options, options_of, print_pairs, read_labelled, read_tagged, set_threads, warn
from .outputs import check_output_directory, write_conll, write_json, write_predictions
from .streams import flush_standard_streams, give_up, open_standard_streams, speak_utf8, tell


def build_parser() -> argparse.ArgumentParser:
    from . import __version__, comparing, evaluating, exporting, generating, preparing
    from .options import DECLARED, INFERENCE, METHODS, add_arguments

    method, machine, inference = (
        tuple(name for name, option in DECLARED.items() if (option["table"], option["group"]) == ("compiler", group))
        for group in ("method", "machine", INFERENCE)
    )
    machine += ("bf16",)
    parser = Parser(
        prog="pst", description="Parameter-efficient sparse training: fine-tunes transformers to sparse ones."
    )
    parser.add_argument("--version", action="version", version=f"pst {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, text):
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    train = command("train", _train, "fine-tune a model and save it as a sparse one")
    _model_argument(train)
    train.add_argument("--train_file", required=True, metavar="FILE", help="training data: .tsv, .csv or .jsonl; texts for lm")
    train.add_argument("--validation_file", metavar="FILE", help="evaluation data")
    train.add_argument("--test_file", metavar="FILE", help="data to predict at the end (labels are not needed)")
    train.add_argument("--plan_only", action="store_true", help="read and compile everything, print the memory, the steps and the room of a batch, and end")
    train.add_argument("--config", metavar="FILE", help="a YAML or JSON file of flags; those of the command line go before it")
    add_arguments(train, titles=True)
    add_hugging_face_flags(train)

    compare = command("compare", comparing.compare, "train by several methods, sparsities and seeds, and compare the results")
    _model_argument(compare)
    comparing.add_arguments(compare)

    evaluate = command("eval", evaluating.evaluate, "evaluate a saved model")
    _model_argument(evaluate)
    evaluate.add_argument("--validation_file", required=True, metavar="FILE", help="labelled data")
    evaluate.add_argument("--predictions", metavar="FILE", help="write the prediction of each row (TSV; of --generate .jsonl, .csv or .tsv)")
    evaluate.add_argument("--output_file", metavar="FILE", help="write the results as JSON")
    evaluate.add_argument(
        "--generate", action="store_true",
        help="of a language model: go on with the prompts of the file, and hold the texts against its completions "
        "(default search: 10 beams, length penalty 0.8, no 4 tokens twice, 64 new ones)",
    )  # fmt: skip
    evaluate.add_argument("--metrics", default=argparse.SUPPRESS, metavar="NAME,...", help="of --generate (default: bleu,ter,nist,rouge_l,cider)")
    generating.add_arguments(evaluate)
    add_arguments(
        evaluate,
        only=_READING + machine + inference + ("task", "block_size", "per_device_eval_batch_size", "num_threads", "max_eval_samples"),
    )

    predict = command("predict", evaluating.predict, "predict the classes of new texts with a saved model")
    _model_argument(predict)
    predict.add_argument("--file", required=True, metavar="FILE", help="texts: .csv, .tsv, .jsonl, or .txt with one a line")
    predict.add_argument("--output_file", metavar="FILE", help="a .csv, .tsv or .jsonl file (default: CSV on standard output)")
    add_arguments(
        predict,
        only=tuple(name for name in _READING if name not in ("label_column", "label_columns", "completion_column"))
        + machine + inference + ("task", "per_device_eval_batch_size", "num_threads"),
    )  # fmt: skip

    generate = command("generate", generating.generate, "go on with texts by a saved language model")
    _model_argument(generate)
    generate.add_argument("--prompt", metavar="TEXT", help="what to go on with; what follows is printed as it comes")
    generate.add_argument("--file", metavar="FILE", help="prompts: .jsonl, .csv or .tsv, or .txt with one a line; JSON lines are printed")
    generate.add_argument("--output_file", metavar="FILE", help="a .jsonl, .csv or .tsv file (default: standard output)")
    generating.add_arguments(generate)
    add_arguments(
        generate, only=machine + inference + ("task", "text_column", "skip_bad_rows", "per_device_eval_batch_size", "num_threads")
    )

    export = command("export", exporting.export, "write a checkpoint, a model or an adapter as a model that transformers loads, smaller, or for other runtimes")
    export.add_argument("source", metavar="SOURCE", help="a directory checkpoint-N, a run's output directory, a model directory, or an adapter")
    export.add_argument("--output_dir", required=True, metavar="DIR", help="directory of what is written")
    export.add_argument("--overwrite_output_dir", action="store_true", help="replace the directory if it exists")
    export.add_argument(
        "--format", choices=exporting.FORMATS, default="dense",
        help="dense: what transformers loads; compressed: zeros are not stored; adapter: what was trained, without the base model; "
        "gguf: a Llama, Mistral or Qwen2 for llama.cpp; onnx: a BERT or RoBERTa for ONNX Runtime (default: dense)",
    )  # fmt: skip
    export.add_argument("--value_type", choices=exporting.VALUE_TYPES, help="of the values that compressed weights keep, or of the matrices of gguf (default: that which they have)")
    export.add_argument("--embedding_type", choices=exporting.EMBEDDING_TYPES, help="of embeddings, with --format compressed (default: as they are)")
    export.add_argument("--base", metavar="DIR", help="the model that an adapter, or a run that has moved, started from")
    export.add_argument("--validation_file", metavar="FILE", help="labelled data on which the loss by rounding is measured")
    export.add_argument("--target", choices=DECLARED["target"]["choices"], help="where to compute the weights (default: where the run trained)")
    add_arguments(export, only=_READING + ("block_size", "per_device_eval_batch_size", "max_eval_samples"))

    inspect = command("inspect", _inspect, "print the sparsity of each layer, and draw masks")
    inspect.add_argument("model", metavar="DIR", help="a model directory")
    inspect.add_argument("--layer", metavar="NAME", help="draw this layer (a name or a part of it), or 'all'")
    inspect.add_argument("--output_dir", metavar="DIR", help="folder of the pictures (default: DIR/pictures)")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of a table")

    compile_ = command("compile", _compile, "compile a model ahead of time, to a bundle")
    _model_argument(compile_)
    compile_.add_argument("--bundle", required=True, metavar="DIR", help="directory of the bundle")
    compile_.add_argument(
        "--for", dest="purpose", choices=("training", "inference", "generation"), default="training",
        help="inference: the forward pass alone, of a saved model with its zeros where they are; generation: what goes on with "
        "texts, by a saved language model (default: training)",
    )  # fmt: skip
    compile_.add_argument(
        "--cache_length", type=int, metavar="N",
        help="of --for generation: tokens that a text has room for, with its prompt (default: as the model has positions, 1024 at most)",
    )  # fmt: skip
    compile_.add_argument("--num_labels", type=int, metavar="N", help="classes of a new head, to be trained (default: the model's head)")
    compile_.add_argument("--regression", action="store_true", help="a new head that predicts one number")
    compile_.add_argument("--weighted_loss", action="store_true", help="for runs with --class_weights or --label_smoothing_factor")
    compile_.add_argument("--distillation", action="store_true", help="for runs with --distill_from")
    compile_.add_argument("--hold_mask", action="store_true", help="for runs with --mask_interval or --mask_freeze")
    add_arguments(
        compile_,
        only=method
        + machine
        + inference
        + ("task", "block_size", "max_seq_length", "per_device_train_batch_size", "per_device_eval_batch_size"),
    )

    recipe = command("recipe", _recipe, "print the criterion of a built-in method, to begin one of your own")
    recipe.add_argument("method", metavar="METHOD", help=", ".join(METHODS))

    prepare = command("prepare", preparing.prepare, "tokenize data to a safetensors file for pst-run")
    _model_argument(prepare)
    prepare.add_argument("--train_file", required=True, metavar="FILE", help="labelled data")
    prepare.add_argument("--validation_file", metavar="FILE", help="more data, with the same labels")
    prepare.add_argument("--output_dir", required=True, metavar="DIR", help="folder of train.safetensors and so on")
    add_arguments(prepare, only=_READING + _PREPARING)

    sentences = command("sentences", _sentences, "write the project's own data set (train.tsv, dev.tsv)")
    sentences.add_argument("--output_dir", required=True, metavar="DIR", help="where to write")
    sentences.add_argument("--train", type=int, default=4500, metavar="N", help="training sentences (default: 4500)")
    sentences.add_argument("--held_out", type=int, default=600, metavar="N", help="held-out sentences (default: 600)")
    sentences.add_argument("--seed", type=int, default=1, metavar="N", help="seed (default: 1)")
    from . import bench

    benchmark = command("bench", bench.main, "time kernels and training steps against their rivals")
    bench.add_arguments(benchmark)
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """What a command line asks for. Raises ValueError and OSError for a
    --config file; exits with 2 for what is wrong with the flags."""
    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    command = commands.get(argv[0]) if argv else None
    if command is not None and "--config" in command.flags():
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        finder.add_argument("--config")
        if path := finder.parse_known_args(argv[1:])[0].config:
            argv = [argv[0], *read_config_file(path, command), *argv[1:]]
    args, rest = parser.parse_known_args(argv)
    if args.command == "compare":
        args.train_flags = rest
    elif rest:
        commands[args.command].refuse_unknown(rest)
    return args


_READING = ("task_name", "text_column", "text_pair_column", "completion_column", "label_column", "label_columns", "max_seq_length", "skip_bad_rows")
_PREPARING = (
    "classes", "task", "block_size", "pad_to_max_length", "max_train_samples", "max_eval_samples", "distill_from", "calibration_samples",
)  # fmt: skip


def _model_argument(parser) -> None:
    parser.add_argument(
        "--model_name_or_path", required=True, metavar="DIR", help="model directory: config.json, model.safetensors, tokenizer"
    )


def _train(args) -> int:
    from dataclasses import asdict

    from . import _pst
    from .language import predicts_tokens
    from .tasks import classifies_tokens
    from .trainer import Trainer, read_config

    options = options_of(args)
    options.check()
    set_threads(options.num_threads)
    config = read_config(args.model_name_or_path)
    inputs = (args.model_name_or_path, args.train_file, args.validation_file, args.test_file)
    predicted = ("predictions.tsv",) if args.test_file else ()
    check_output_directory(options.output_dir, inputs, ("model", "train_results.json", *predicted))
    if options.logging_dir and "tensorboard" in options.report_to:
        check_output_directory(options.logging_dir, flag="--logging_dir")
    if args.test_file and predicts_tokens(options.implied_task, config):
        raise UsageError("--test_file is for models that classify: a language model has nothing to predict of it")
    # What is wrong with it is told before the training, not after.
    tags = classifies_tokens(options.task, config)
    test = None
    if args.test_file:
        if tags:
            test = read_tagged(args.test_file, options, limit=0, need_tags=False)
        else:
            test = read_labelled(args.test_file, options, read_labels=False, limit=0)
    trainer = Trainer(args.model_name_or_path, args.train_file, args.validation_file, **asdict(options))
    peers = trainer.peers
    if peers.leads:
        # What the end needs is told now, not after the training.
        _pst.check_export_target(trainer.model, os.path.join(options.output_dir, "model"))
        for name in ("train_results.json", *predicted):
            if os.path.isdir(os.path.join(options.output_dir, name)):
                raise UsageError(f"--output_dir {options.output_dir}: its {name} is a directory, and is to be a file")
        print(trainer.program.memory_plan().rstrip())
        if trainer.model.num_rounded:
            print(f"rounded to bf16: {trainer.model.num_rounded} frozen tensors, which the file has wider")
        print(
            f"{len(trainer._train)} examples, {trainer.plan['total_steps']} steps, "
            f"batches of {trainer.plan['batch_size']} x {trainer.length} tokens"
            + (
                f" without padding (room for {trainer.token_capacity}, of which {trainer.token_use:.0%} is used)"
                if trainer.token_capacity
                else ""
            )
            + (f" on each of {peers.count} ranks" if peers.count > 1 else ""),
            flush=True,
        )
    if args.plan_only:
        peers.close()
        return 0
    result = trainer.train()
    peers.close()
    if not peers.leads:
        return 130 if result["stopped"] else 0
    if result["stopped"]:
        checkpoint = os.path.join(options.output_dir, f"checkpoint-{result['step']}")
        print(f"stopped at step {result['step']} of {result['total_steps']}; continue with --resume_from_checkpoint last")
        print(f"checkpoint: {checkpoint}")
        return 130

    summary = {
        "steps": result["step"],
        "seconds_per_step": result["seconds_per_step"],
        "trainable_parameters": trainer.trainable_parameters,
    }
    if args.validation_file:
        evaluation = trainer.evaluate()
        summary.update(evaluation["metrics"], eval_loss=evaluation["loss"])
    saved = trainer.save()
    if saved["layers"]:
        summary["sparsity"] = saved["zero_share"]
    summary["peak_memory_mib"] = _pst.peak_resident_bytes() / 2**20
    summary["model"] = os.path.join(options.output_dir, "model")
    if test is not None:
        from .classifier import Classifier, predictions

        summary["predictions"] = os.path.join(options.output_dir, "predictions.tsv")
        if tags:
            saved = Classifier(summary["model"], max_seq_length=options.max_seq_length, **options.of_compiler(("machine",)))
            write_conll(summary["predictions"], saved.tag(test))
            warn(saved.warnings)
        else:
            told = len(trainer.warnings)
            logits = trainer.evaluate(test)["logits"]
            warn(trainer.warnings[told:])
            write_predictions(summary["predictions"], predictions(logits, trainer.labels), test)
    write_json(os.path.join(options.output_dir, "train_results.json"), summary)
    print_pairs(summary)
    return 0


def _inspect(args) -> int:
    from . import inspection

    reports = inspection.layers(args.model)
    if args.json:
        print(
            json.dumps(
                [{"layer": r.name, "rows": r.rows, "columns": r.columns, "zeros": r.zeros, "sparsity": r.sparsity} for r in reports]
            )
        )
    else:
        print(inspection.table(reports))
    if args.layer:
        output = args.output_dir or os.path.join(args.model, "pictures")
        for path in inspection.draw_layers(args.model, args.layer, output):
            print(path, file=sys.stderr if args.json else sys.stdout)
    elif args.output_dir:
        raise UsageError("--output_dir is where pictures go: say which with --layer NAME or --layer all")
    return 0


def _compile(args) -> int:
    from dataclasses import replace

    from . import _pst
    from .compiled import compressed_weights, quantized_weights
    from .data import Labels
    from .language import block_length, predicts_tokens
    from .many_labels import PROBLEM
    from .settings import compiler_options
    from .tasks import classifies_tokens
    from .tokenizer_settings import read_settings
    from .trainer import read_config

    options = options_of(args)
    options.check(trains=args.purpose == "training")
    _check_purpose(args)
    if args.purpose == "training":
        options = replace(options, bundle="").of_method()  # as `pst train`, which the bundle is for
    check_output_directory(args.bundle, (args.model_name_or_path,), (".",), "--bundle")
    config = read_config(args.model_name_or_path)
    if predicts_tokens(options.implied_task, config):
        settings = compiler_options(options, None, block_length(options.block_size, config), True)
    else:
        chosen = args.regression or args.num_labels is not None
        many, tags = options.task == PROBLEM, classifies_tokens(options.task, config)
        regression = args.regression or args.num_labels == 1 and not many and not tags
        labels = Labels([] if regression else ["0", "1"], regression, many, tags)
        length = read_settings(args.model_name_or_path).at_most(options.max_seq_length)
        # A head of random values is one that was asked for.
        settings = {**compiler_options(options, labels, length, True), "new_head": chosen}
        if args.num_labels is not None and not regression:
            settings["num_labels"] = args.num_labels
        if not chosen:
            # As many classes as the model has.
            del settings["num_labels"], settings["regression"]
    for name in ("weighted_loss", "distillation", "hold_mask"):
        if getattr(args, name):
            settings[name] = True
    if args.purpose == "inference":
        settings = {**settings, **options.of_evaluation(settings["sequence_length"], 32), "new_head": False}
    elif args.purpose == "generation":
        settings = _generation_settings(args, options, config)
    program = _pst.compile_model(args.model_name_or_path, {**settings, "bundle": args.bundle})
    for remark in program.remarks:
        tell(f"warning: {remark}\n")
    print(program.memory_plan().rstrip())
    summary = {"bundle": args.bundle}
    if args.purpose != "training":
        manifest = json.loads(program.manifest)
        for kind, stored in (("compressed", compressed_weights(manifest)), ("int8", quantized_weights(manifest))):
            if kind == "int8" and not stored:
                continue
            summary[f"{kind}_weights"] = len(stored)
            summary[f"{kind}_mib"] = sum(size for size, _ in stored.values()) / 2**20
            summary[f"{kind}_mib_dense"] = sum(size for _, size in stored.values()) / 2**20
    print_pairs(summary)
    return 0


def _generation_settings(args, options, config) -> dict:
    from .generating import program_settings
    from .language import block_length, predicts_tokens

    if not predicts_tokens(options.implied_task, config):
        raise UsageError(f"--for generation is of language models, and {args.model_name_or_path} is none")
    room = block_length(0, config) if args.cache_length is None else args.cache_length
    if room < 1:
        raise UsageError(f"--cache_length must be at least 1, but is {room}")
    return program_settings(options, options.per_device_eval_batch_size or 8, room)


def _check_purpose(args) -> None:
    """Refuses flags that have no part in what is compiled. Raises UsageError."""
    from .options import DECLARED, INFERENCE

    trains = args.purpose == "training"
    groups = (INFERENCE,) if trains else ("method",)
    names = [name for name in given_options(args) if DECLARED.get(name, {}).get("group") in groups]
    names += [name for name in ("num_labels", "regression", "weighted_loss", "distillation") if not trains and getattr(args, name)]
    names += [name for name in ("per_device_eval_batch_size" if trains else "per_device_train_batch_size",) if name in vars(args)]
    names += [name for name in ("cache_length",) if args.purpose != "generation" and getattr(args, name) is not None]
    if names:
        other = "generation" if names[0] == "cache_length" else "inference" if trains else "training"
        raise UsageError(f"--{names[0]} is of --for {other}, but the program is for {args.purpose}: leave one of them out")


def _recipe(args) -> int:
    from . import _pst

    print(_pst.recipe_text(args.method).rstrip())
    return 0


def _sentences(args) -> int:
    from . import sentences

    if args.train < 1 or args.held_out < 1:
        raise UsageError("--train and --held_out must be at least 1")
    train, held_out = sentences.write(args.output_dir, args.train, args.held_out, args.seed)
    print_pairs({"train": train, "held_out": held_out})
    return 0


def main(argv=None) -> int:
    """Runs the command; returns the exit status.

    1: an error, told in one sentence on standard error; 2: a wrong command
    line; 130: stopped by Ctrl-C, SIGTERM or SIGHUP.
    """
    # A terminal that lacks a letter shows its number.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = parse(sys.argv[1:] if argv is None else list(argv))
    except (ValueError, OSError) as error:
        tell(f"pst: error: {_shown(_sentence(error))}\n")
        return 2
    try:
        return args.run(args)
    except KeyboardInterrupt:
        tell("pst: stopped\n")
        return 130
    except BrokenPipeError:
        # Whoever read the output has had enough.
        give_up(sys.stdout)
        return 1
    except Exception as error:
        if args.debug or not _is_told(error):
            raise
        tell(f"pst: error: {_shown(_sentence(error))}\n")
        return 1


def program() -> int:
    """The process `pst`: main, and what is the process's alone."""
    speak_utf8()
    from . import _pst

    open_standard_streams()
    _pst.tell_of_lost_files()
    status = main()
    if not flush_standard_streams() and status == 0:
        tell("pst: error: standard output: cannot be written\n")
        return 1
    return status


def _is_told(error: Exception) -> bool:
    """Whether the error speaks to the user; any other is a defect of ours, and
    its traceback is wanted."""
    from . import CompileError, DataError, Error
    from .errors import MissingPackageError

    return isinstance(error, (CompileError, DataError, Error, MissingPackageError, OSError)) or type(error) in (
        ValueError,
        UsageError,
        MemoryError,
    )


def _shown(text: str) -> str:
    """A sentence as a terminal shall have it: what it quotes of a file may be
    megabytes, or commands to the terminal."""
    if len(text) > 3000:
        text = f"{text[:2000]} ... {text[-700:]}"
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return str(error)


if __name__ == "__main__":
    sys.exit(program())
