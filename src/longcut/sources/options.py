"""What can be said about somebody's own data: each option is declared here, once, for readers, data sets and flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from longcut.spec import Option, options_of

__all__ = [
    "Attribute",
    "AttributeBins",
    "Config",
    "Image",
    "Label",
    "Metavar",
    "OptionalLabel",
    "Size",
    "Split",
    "Task",
    "Text",
    "Unreadable",
    "metavar",
    "own_options",
]


@dataclass(frozen=True)
class Metavar:
    """Beside the ``Field`` of an option: the word that stands for its value in the help of a command."""

    word: str


COLUMN = Metavar("COLUMN")
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
Image = Annotated[
    str | None, Field(description="column with images, or with their paths relative to the table"), COLUMN
]
Text = Annotated[str | None, Field(description="column with text; several joined by +"), COLUMN]
Size = Annotated[int | None, Field(ge=8, le=1024, description="side in pixels that images are brought to")]
Unreadable = Annotated[Literal["refuse", "skip"], Field(description="what to do about images that cannot be read")]
Task = Annotated[
    Literal["auto", "classification", "regression"], Field(description="whether labels are classes or numbers")
]
Config = Annotated[str | None, Field(description="variant of a data set of the Hugging Face hub")]


def own_options() -> tuple[Option, ...]:
    """All of these options, for a command line that offers each as a flag.

    >>> [option.name for option in own_options()]
    ['label', 'attribute', 'attribute_bins', 'split', 'image', 'text', 'size', 'unreadable', 'task', 'config']
    """

    def own(
        *,
        label: OptionalLabel = None,
        attribute: Attribute = None,
        attribute_bins: AttributeBins = None,
        split: Split = None,
        image: Image = None,
        text: Text = None,
        size: Size = None,
        unreadable: Unreadable = "refuse",
        task: Task = "auto",
        config: Config = None,
    ) -> None: ...

    return options_of(own)


def metavar(option: Option) -> str | None:
    """The word that stands for the value of an option in the help of a command; None leaves it to the command line.

    >>> [metavar(option) for option in own_options()[:4]]
    ['COLUMN', 'COLUMN', None, 'COLUMN']
    """
    return next((mark.word for mark in get_args(option.hint) if isinstance(mark, Metavar)), None)
