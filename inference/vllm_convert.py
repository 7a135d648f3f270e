"""Turns a GGUF file into a directory that vLLM serves on the CPU: bfloat16 safetensors, chat template kept.

``python vllm_convert.py FILE.gguf DIRECTORY``, run by the Python of vLLM's own environment.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(file: Path, directory: Path) -> None:
    """Convert ``file`` into ``directory``."""
    import torch  # noqa: PLC0415 - here it exists only in the environment of vLLM
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    source, name = str(file.parent), file.name
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
