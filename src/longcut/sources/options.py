"""What can be said about somebody's own data: each option is declared here, once, for readers, data sets and flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from longcut.spec import Option, options_of

__all__ = [
    "Attribute",
    "AttributeBins",
    "Categorical",
    "Charset",
    "Config",
    "Drop",
    "Image",
    "Inputs",
    "Keep",
    "Label",
    "Layer",
    "Metavar",
    "Names",
    "Numeric",
    "OptionalLabel",
    "OptionalParts",
    "Parts",
    "Separator",
    "Size",
    "Skip",
    "Split",
    "Task",
    "Text",
    "Unreadable",
    "Vectors",
    "metavar",
    "own_options",
]


@dataclass(frozen=True)
class Metavar:
    """Beside the ``Field`` of an option: the word that stands for its value in the help of a command."""

    word: str


COLUMN, COLUMNS = Metavar("COLUMN"), Metavar("COLUMNS")
LABEL = Field(description="column or array with the label")

Label = Annotated[str, LABEL, COLUMN]
OptionalLabel = Annotated[str | None, LABEL, COLUMN]
Attribute = Annotated[
    str | None,
    Field(description="column or array with the suspected shortcut; empty, or in an array -1, where it is not known"),
    COLUMN,
]
AttributeBins = Annotated[
    int | None,
    Field(
        ge=2,
        le=50,
        description="ranges of about as many samples each that a numeric attribute is cut into; by default 4, of one "
        "with more than 12 distinct numbers",
    ),
]
Split = Annotated[
    str | None,
    Field(description="column or array that says train, valid or test; without one, parts are drawn"),
    COLUMN,
]
PARTS = Field(
    pattern=r"^[1-9][0-9]?/[1-9][0-9]?/[1-9][0-9]?$",
    examples=["70/15/15"],
    description="per cent of the samples that train, validate and test; the seed draws which, so that five seeds are "
    "five splits",
)
Parts = Annotated[str, PARTS]
OptionalParts = Annotated[str | None, PARTS]
Image = Annotated[
    str | None, Field(description="column with images, or with their paths relative to the table"), COLUMN
]
Text = Annotated[str | None, Field(description="column with text; several joined by +"), COLUMN]
Size = Annotated[int | None, Field(ge=8, le=1024, description="side in pixels that images are brought to")]
Unreadable = Annotated[Literal["refuse", "skip"], Field(description="what to do about images that cannot be read")]
Task = Annotated[
    Literal["auto", "classification", "regression"], Field(description="whether labels are classes or numbers")
]
Vectors = Annotated[
    str | None,
    Field(
        description="column with vectors, or a .npy file of them relative to the table, a row for each row: the input"
    ),
    COLUMN,
]
Layer = Annotated[
    int | None, Field(description="which vector, where each row has several: from 0, or from the end, -1 the last")
]
Config = Annotated[str | None, Field(description="variant of a data set of the Hugging Face hub")]
Inputs = Annotated[
    str | None,
    Field(description="columns that are the input, several joined by commas or +; by default all without another use"),
    COLUMNS,
]
Drop = Annotated[str | None, Field(description="columns to leave out, as if they were not there"), COLUMNS]
Categorical = Annotated[
    str | None, Field(description="columns whose values are names, also where they look like numbers"), COLUMNS
]
Numeric = Annotated[str | None, Field(description="columns of numbers; what is none is missing, and 007 is 7"), COLUMNS]
Keep = Annotated[
    str | None,
    Field(description="texts that are values here, although they usually stand for a missing one, such as NA,None"),
    Metavar("TEXTS"),
]
Separator = Annotated[
    str | None,
    Field(description="between cells: one character, or comma, semicolon, tab, pipe, space; by default found out"),
]
Charset = Annotated[str | None, Field(description="how the file is saved, such as latin-1, cp1252 or utf-16")]
Names = Annotated[str | None, Field(description="names of all columns, where the file has no line of them"), COLUMNS]
Skip = Annotated[int | None, Field(ge=0, description="lines to pass over at the top of the file")]


def own_options() -> tuple[Option, ...]:
    """All of these options, for a command line that offers each as a flag.

    >>> [option.name for option in own_options()]  # doctest: +NORMALIZE_WHITESPACE
    ['label', 'attribute', 'attribute_bins', 'split', 'parts', 'image', 'text', 'size', 'unreadable', 'task', 'config',
    'vectors', 'layer', 'columns', 'drop', 'categorical', 'numeric', 'keep', 'separator', 'encoding', 'names', 'skip']
    """

    def own(
        *,
        label: OptionalLabel = None,
        attribute: Attribute = None,
        attribute_bins: AttributeBins = None,
        split: Split = None,
        parts: OptionalParts = None,
        image: Image = None,
        text: Text = None,
        size: Size = None,
        unreadable: Unreadable = "refuse",
        task: Task = "auto",
        config: Config = None,
        vectors: Vectors = None,
        layer: Layer = None,
        columns: Inputs = None,
        drop: Drop = None,
        categorical: Categorical = None,
        numeric: Numeric = None,
        keep: Keep = None,
        separator: Separator = None,
        encoding: Charset = None,
        names: Names = None,
        skip: Skip = None,
    ) -> None: ...

    return options_of(own)


def metavar(option: Option) -> str | None:
    """The word that stands for the value of an option in the help of a command; None leaves it to the command line.

    >>> [metavar(option) for option in own_options()[:4]]
    ['COLUMN', 'COLUMN', None, 'COLUMN']
    """
    return next((mark.word for mark in get_args(option.hint) if isinstance(mark, Metavar)), None)
