"""Caption strategies. This folder is the registry: a new strategy is one file, and nothing else is edited.

A strategy is a module that captions by an expression over metadata (table strategy) or by a model (model strategy):

    \"\"\"First line: what it does, in one sentence. The rest is its help text.\"\"\"

    VERSION = 1                       # raise it whenever the same inputs would give another caption

    class Options(StrategyOptions):   # every option with a description; `-o key=value` is parsed into it
        ...

    def fields(options, available: list[str]) -> list[str]:
        \"\"\"The columns it reads. The digest of an image's inputs covers them and the columns of `read`.\"\"\"

    def caption(batch: polars.DataFrame, options) -> polars.DataFrame:
        \"\"\"One row out for each row in, in order: see `captions`.\"\"\"

A model strategy has, instead of `caption`:

    def load_model(options) -> CaptionModel:
        \"\"\"Load it: see curator.captioners.model. Called only if an image needs a caption.\"\"\"

Optional parts:

    IMPORTS = True                    # captions come from outside, so `--by NAME` may attribute them to a person
    ORIGINAL_PATHS = True             # `image_path` is the path at ingest, for `read` to find files beside the image
    LOCATIONS = frozenset({"file"})   # options that locate data; not in the digest
    SPEED_OPTIONS = frozenset({"batch_size"})  # options that affect only speed; not in the digest
    def read(images, options) -> Reading    # columns from outside the catalog, and the rejected rows
    def model(options) -> Model | None      # the model and its exact revision: recorded, and part of the digest
    def warnings(options) -> list[str]      # messages shown before the run

A field is a metadata field, a built-in one (`file_name`, `file_stem`, `folder`, `format`, `width_px`, `height_px`), or
the image's caption in another set: `caption.SET` (current) or `caption.SET@n` (a version).

`batch` has the columns `image_sha256`, `image_path` (a local path) and those named by `fields`. Metadata columns are
text, or lists of text if any image has a list there; null if an image has no value. A caption depends only on its own
row, not on other rows, their order or the batch size.

Another package adds a strategy by the entry point group `amatl.captioners`: name = "package.module".
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

from curator.captioners.model import CaptionModel
from schemas.errors import AmatlError, BadOption, NotFound

if TYPE_CHECKING:
    import polars as pl

ENTRY_POINTS = "amatl.captioners"
TABLE_BATCH = 100_000
SUPPORT = frozenset({"model"})  # modules here that aren't strategies


class BadCaptioner(AmatlError):
    """A caption strategy breaks the contract of curator.captioners. Report it to its author."""


class StrategyOptions(BaseModel):
    """Options of a strategy. Unknown ones are refused, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def reject_unused_options(options: BaseModel, choice: str, owners: Mapping[str, str]) -> None:
    """Raise ValueError, in a validator, for an option that the value of `choice` would ignore.

    `owners`: by option name, the value of `choice` that uses it.
    """
    chosen = getattr(options, choice)
    for name in sorted(options.model_fields_set & set(owners)):
        if chosen != owners[name] and getattr(options, name) != type(options).model_fields[name].default:
            raise ValueError(f"{name} is an option of {choice}={owners[name]}, and {choice} is {chosen}")


class Model(BaseModel):
    name: str
    revision: str


def model_at(name: str, revision: str | None) -> str:
    """Return a model's name and revision for display, with digests and commits shortened to 12 digits."""
    if not revision:
        return name
    kind, colon, digest = revision.rpartition(":")
    return f"{name} at {kind}{colon}{digest[:12] if re.fullmatch('[0-9a-f]{32,}', digest) else digest}"


class Rejected(BaseModel):
    where: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Reading:
    """Data from outside the catalog: columns with one row an image, and the rejected rows."""

    columns: pl.DataFrame
    rejects: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class Captioner:
    name: str
    help: str
    version: int
    options: type[BaseModel]
    fields: Callable[[Any, list[str]], list[str]]
    caption: Callable[[pl.DataFrame, Any], pl.DataFrame] | None
    load_model: Callable[[Any], CaptionModel] | None
    read: Callable[[pl.DataFrame, Any], Reading] | None
    model: Callable[[Any], Model | None]
    warnings: Callable[[Any], list[str]]
    imports: bool
    original_paths: bool
    locations: frozenset[str]
    speed_options: frozenset[str]
    batch_size: int

    @property
    def summary(self) -> str:
        return self.help.partition("\n")[0]

    def output_options(self, options: Any) -> dict[str, Any]:
        """Return the options that affect captions, as JSON values: all but LOCATIONS and SPEED_OPTIONS."""
        dumped: dict[str, Any] = options.model_dump(mode="json", exclude=set(self.locations | self.speed_options))
        return dumped


def captions(text: pl.Series, reason: pl.Series | str = "", failed: pl.Series | bool = False) -> pl.DataFrame:
    """Build the result of `caption`: `text` (null: no caption), `reason` (why, a short phrase), `failed`.

    Failed: an error that may pass; an earlier caption stays, and the next run tries again. Else null text removes an
    earlier caption of this strategy.
    """
    import polars as pl

    frame = pl.DataFrame({"text": text.cast(pl.String)})
    columns = {
        name: value if isinstance(value, pl.Series) else pl.lit(value)
        for name, value in (("reason", reason), ("failed", failed))
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
"""A list option: `-o drop=solo,highres`, or `-o drop=@FILE`, a file with commas or lines."""


def names() -> list[str]:
    """List all strategies, built in or by entry point, sorted. Raises BadCaptioner if two share a name."""
    return sorted(_modules())


def load(name: str) -> Captioner:
    """Load a strategy. Raises NotFound listing all, BadCaptioner if it breaks the contract."""
    modules = _modules()
    if name not in modules:
        raise NotFound(f"There is no strategy {name!r}. There are: {', '.join(sorted(modules))}.")
    return from_module(name, importlib.import_module(modules[name]))


def from_module(name: str, module: ModuleType) -> Captioner:
    missing = [part for part in ("__doc__", "Options", "VERSION", "fields") if not getattr(module, part, None)]
    if not hasattr(module, "caption") and not hasattr(module, "load_model"):
        missing.append("caption (or load_model)")
    if missing:
        raise BadCaptioner(f"Strategy {name!r} ({module.__name__}) lacks {', '.join(missing)}; see curator.captioners.")
    return Captioner(
        name=name,
        help=(module.__doc__ or "").strip(),
        version=module.VERSION,
        options=module.Options,
        fields=module.fields,
        caption=getattr(module, "caption", None),
        load_model=getattr(module, "load_model", None),
        read=getattr(module, "read", None),
        model=getattr(module, "model", lambda options: None),
        warnings=getattr(module, "warnings", lambda options: []),
        imports=getattr(module, "IMPORTS", False),
        original_paths=getattr(module, "ORIGINAL_PATHS", False),
        locations=getattr(module, "LOCATIONS", frozenset()),
        speed_options=getattr(module, "SPEED_OPTIONS", frozenset()),
        batch_size=getattr(module, "BATCH_SIZE", TABLE_BATCH),
    )


def parse_options(captioner: Captioner, given: Mapping[str, str] | Sequence[str]) -> Any:
    """Parse `key=value` pairs (list options read `@FILE`) or a mapping.

    Raises BadOption naming the wrong option and listing all options.
    """
    values = dict(given) if isinstance(given, Mapping) else _pairs(captioner, given)
    try:
        return captioner.options.model_validate(values)
    except ValidationError as error:
        raise BadOption(f"{_problem(captioner, error)} {describe_options(captioner)}") from None


def describe_options(captioner: Captioner) -> str:
    options = captioner.options.model_fields
    if not options:
        return f"{captioner.name} takes no options."
    required = [f"{name} (required)" for name, option in options.items() if option.is_required()]
    optional = [name for name, option in options.items() if not option.is_required()]
    return f"Options of {captioner.name}: {', '.join(required + optional)}."


def _modules() -> dict[str, str]:
    from importlib.metadata import entry_points

    built_in = [entry.name for entry in pkgutil.iter_modules(__path__) if entry.name not in SUPPORT]
    modules = {name: f"{__name__}.{name}" for name in built_in}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in modules:
            raise BadCaptioner(f"Two strategies are called {point.name!r}: {modules[point.name]} and {point.value}.")
        modules[point.name] = point.value
    return modules


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
    # Report a misspelt option before the required one that it was meant to be.
    first: Any = min(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{captioner.name} has no option {name!r}."
    if first["type"] == "missing":
        return f"{captioner.name} needs -o {name}=...."
    return f"-o {name}: {message}." if name else f"-o: {message}."  # without a name: options that exclude each other
