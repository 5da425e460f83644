"""Caption strategies: this folder is the registry. A strategy is one file; nothing else is edited to add one.

The contract, for a table strategy (an expression over metadata) and a model strategy (pictures in, words out) alike:

    \"\"\"First line: what it does, in one sentence. The rest is its help text.\"\"\"

    VERSION = 1                       # raised whenever the same inputs would give another caption

    class Options(StrategyOptions):   # every option with a description; `-o key=value` is parsed into it
        ...

    def fields(options, available: list[str]) -> list[str]:
        \"\"\"The columns it reads; the digest of an image's inputs covers these and what `read` adds.\"\"\"

    def caption(batch: polars.DataFrame, options) -> polars.DataFrame:
        \"\"\"One row out for each row in, same order: see `captions`.\"\"\"

or, for a model, instead of `caption`:

    def machine(options) -> Machine:
        \"\"\"Loads it: see curator.captioners.model. Called only when there is a picture to caption.\"\"\"

and where it needs them:

    IMPORTS = True                    # captions are brought in from outside, so `--by NAME` may make them a person's
    BESIDE = True                     # `read` looks beside the picture: `image_path` is where it lay when ingested
    LOCATIONS = frozenset({"file"})   # options that say where to look, not what to write: left out of the digest
    PACE = frozenset({"batch_size"})  # options that say how fast, not what to write: left out of the digest
    def read(images, options) -> Reading    # per-image data from outside the catalog, as columns; rows it rejects
    def model(options) -> Model | None      # the model and its exact revision: recorded, and part of the digest
    def warnings(options) -> list[str]      # what a person should hear before the captions are made

A field is one of the images' metadata, one that every image has (`file_name`, `file_stem`, `folder`, `format`,
`width_px`, `height_px`), or the image's caption in another set: `caption.SET` as it is now, `caption.SET@n` a version.

`batch` has the columns `image_sha256`, `image_path` (where the picture can be opened) and those that `fields` named.
Metadata columns are text, or lists of text where any image's metadata has a list there; null where an image has none.
A caption may depend on nothing but its own row: not on its neighbours, nor on the order, nor on the batch size.

A third party adds a strategy by the entry point group `amatl.captioners`: name = "package.module".
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from curator.captioners.model import Machine
from schemas.errors import AmatlError, BadOption, NotFound

if TYPE_CHECKING:
    import polars as pl

ENTRY_POINTS = "amatl.captioners"
TABLE_BATCH = 100_000
SUPPORT = frozenset({"model"})  # What strategies with a model share; not a strategy.


class BadCaptioner(AmatlError):
    """A caption strategy doesn't keep the contract of curator.captioners. Report it to its author."""


class StrategyOptions(BaseModel):
    """The options of a strategy: unknown ones are refused, and values can't change once parsed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse_idle(options: BaseModel, choice: str, owners: Mapping[str, str]) -> None:
    """For a validator: an option that only one value of `choice` heeds would be ignored in silence beside another.

    `owners`: that value by the option's name. Raises ValueError.
    """
    chosen = getattr(options, choice)
    for name in sorted(options.model_fields_set & set(owners)):
        if chosen != owners[name] and getattr(options, name) != type(options).model_fields[name].default:
            raise ValueError(f"{name} is an option of {choice}={owners[name]}, and {choice} is {chosen}")


class Model(BaseModel):
    """The model that writes the captions, down to the revision of its weights."""

    name: str
    revision: str


def model_at(name: str, revision: str | None) -> str:
    """A model for a person to read: digests and commits shortened, what else a revision says in full."""
    if not revision:
        return name
    kind, colon, digest = revision.rpartition(":")
    return f"{name} at {kind}{colon}{digest[:12] if re.fullmatch('[0-9a-f]{32,}', digest) else digest}"


class Rejected(BaseModel):
    """Something a strategy was given and couldn't use."""

    where: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Reading:
    """What a strategy read outside the catalog: columns as tall as the images, and the rows it couldn't use."""

    columns: pl.DataFrame
    rejects: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class Captioner:
    """A strategy as the runner sees it: its module's parts, defaults filled in."""

    name: str
    help: str
    version: int
    options: type[BaseModel]
    fields: Callable[[Any, list[str]], list[str]]
    caption: Callable[[pl.DataFrame, Any], pl.DataFrame] | None
    machine: Callable[[Any], Machine] | None
    read: Callable[[pl.DataFrame, Any], Reading] | None
    model: Callable[[Any], Model | None]
    warnings: Callable[[Any], list[str]]
    imports: bool
    beside: bool
    locations: frozenset[str]
    pace: frozenset[str]
    batch_size: int

    @property
    def summary(self) -> str:
        """The first line of its help."""
        return self.help.partition("\n")[0]

    def written_by(self, options: Any) -> dict[str, Any]:
        """The options that decide what is written, as JSON values: all but its LOCATIONS and PACE."""
        made: dict[str, Any] = options.model_dump(mode="json", exclude=set(self.locations | self.pace))
        return made


def captions(text: pl.Series, reason: pl.Series | str = "", failed: pl.Series | bool = False) -> pl.DataFrame:
    """What `caption` returns: `text` (null: no caption), `reason` (why not, a short phrase), `failed`.

    Not failed: there is nothing to say about the image, and an earlier caption of this strategy is taken out.
    Failed: it couldn't be found out this time (unreadable file, model error). What there was stays; the next run
    tries again.
    """
    import polars as pl

    frame = pl.DataFrame({"text": text.cast(pl.String)})
    columns = {
        name: given if isinstance(given, pl.Series) else pl.lit(given)
        for name, given in (("reason", reason), ("failed", failed))
    }
    no_text = pl.col("text").is_null()
    return frame.with_columns(**columns).with_columns(
        reason=pl.when(no_text).then("reason"), failed=no_text & pl.col("failed")
    )


def _split_names(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.replace("\n", ",").split(",") if part.strip()]
    return value


Names = Annotated[list[str], BeforeValidator(_split_names)]
"""A list option: `-o drop=solo,highres`, or from a file with commas or lines, `-o drop=@FILE`."""


def names() -> list[str]:
    """Every strategy there is, built in or by entry point, sorted. Raises BadCaptioner where two share a name."""
    return sorted(_modules())


def load(name: str) -> Captioner:
    """The strategy of that name. Raises NotFound listing those there are, BadCaptioner if it breaks the contract."""
    modules = _modules()
    if name not in modules:
        raise NotFound(f"There is no strategy {name!r}. There are: {', '.join(sorted(modules))}.")
    return from_module(name, importlib.import_module(modules[name]))


def from_module(name: str, module: ModuleType) -> Captioner:
    """Reads a strategy out of its module. Raises BadCaptioner naming what is missing."""
    missing = [part for part in ("__doc__", "Options", "VERSION", "fields") if not getattr(module, part, None)]
    if not hasattr(module, "caption") and not hasattr(module, "machine"):
        missing.append("caption (or machine)")
    if missing:
        raise BadCaptioner(f"Strategy {name!r} ({module.__name__}) lacks {', '.join(missing)}; see curator.captioners.")
    return Captioner(
        name=name,
        help=(module.__doc__ or "").strip(),
        version=module.VERSION,
        options=module.Options,
        fields=module.fields,
        caption=getattr(module, "caption", None),
        machine=getattr(module, "machine", None),
        read=getattr(module, "read", None),
        model=getattr(module, "model", lambda options: None),
        warnings=getattr(module, "warnings", lambda options: []),
        imports=getattr(module, "IMPORTS", False),
        beside=getattr(module, "BESIDE", False),
        locations=getattr(module, "LOCATIONS", frozenset()),
        pace=getattr(module, "PACE", frozenset()),
        batch_size=getattr(module, "BATCH_SIZE", TABLE_BATCH),
    )


def parse_options(captioner: Captioner, given: Mapping[str, str] | Sequence[str]) -> Any:
    """`key=value` pairs of a command line (list options read `@FILE`), or a mapping, as the strategy's options.

    Raises BadOption naming the option at fault and listing the options there are.
    """
    values = dict(given) if isinstance(given, Mapping) else _pairs(captioner, given)
    try:
        return captioner.options.model_validate(values)
    except ValidationError as error:
        raise BadOption(f"{_problem(captioner, error)} {describe_options(captioner)}") from None


def describe_options(captioner: Captioner) -> str:
    """One sentence: the options of a strategy, required ones first."""
    options = captioner.options.model_fields
    if not options:
        return f"{captioner.name} takes no options."
    required = [f"{name} (required)" for name, option in options.items() if option.is_required()]
    optional = [name for name, option in options.items() if not option.is_required()]
    return f"Options of {captioner.name}: {', '.join(required + optional)}."


def _modules() -> dict[str, str]:
    from importlib.metadata import entry_points

    here = [entry.name for entry in pkgutil.iter_modules(__path__) if entry.name not in SUPPORT]
    found = {name: f"{__name__}.{name}" for name in here}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in found:
            raise BadCaptioner(f"Two strategies are called {point.name!r}: {found[point.name]} and {point.value}.")
        found[point.name] = point.value
    return found


def _pairs(captioner: Captioner, given: Sequence[str]) -> dict[str, str]:
    lists = {name for name, option in captioner.options.model_fields.items() if option.annotation == list[str]}
    values: dict[str, str] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise BadOption(f"-o {pair}: write -o KEY=VALUE.")
        if key in values:
            raise BadOption(f"-o {key} is given twice.")
        values[key] = _from_file(key, value) if key in lists and value.startswith("@") else value
    return values


def _from_file(key: str, value: str) -> str:
    from pathlib import Path

    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"-o {key}={value}: can't read {value[1:]} ({error}).") from None


def _problem(captioner: Captioner, error: ValidationError) -> str:
    # A misspelt option is the better news than the one missing for it.
    first: Any = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
    name = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{captioner.name} has no option {name!r}."
    if first["type"] == "missing":
        return f"{captioner.name} needs -o {name}=...."
    return f"-o {name}: {said}." if name else f"-o: {said}."  # without a name: options that don't go together
