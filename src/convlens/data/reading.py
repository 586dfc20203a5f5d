"""How a data set is to be read: the options of every verb that opens one."""

from dataclasses import dataclass, fields, replace
from typing import Annotated

from tyro.conf import arg

from convlens.fields import Bounds

Column = Annotated[str | None, arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a data set is to be read; what opens one inherits these options."""

    split_seed: Annotated[int, Bounds(0)] = 0
    """Of the split of a data set that has none."""
    skip_bad: bool = False
    """Leave out files that cannot be read, and list them."""
    nested: bool = False
    """Take the images anywhere below a class's folder, not only those directly in it."""
    exclude: Annotated[str | None, arg(metavar="FILE")] = None
    """A CSV with a column `path`: images to leave out, as `data audit --run` writes it."""
    file_column: Column = None
    """Of a list of images, the column of the files; else guessed."""
    label_column: Column = None
    """Of a list of images, the column of the classes; else guessed."""
    split_column: Column = None
    """Of a list of images, the column that says train, validation or test; else guessed."""

    @property
    def reading(self) -> "Reading":
        """These options alone, without those of what inherits them."""
        return Reading(**{field.name: getattr(self, field.name) for field in fields(Reading)})

    def over(self, usual: "Reading") -> "Reading":
        """`usual` with what is asked for here and is not the default."""
        plain = Reading()
        own = {
            field.name: getattr(self, field.name)
            for field in fields(Reading)
            if getattr(self, field.name) != getattr(plain, field.name)
        }
        return replace(usual.reading, **own)
