"""docs/configuration.md, made from the settings themselves: `make reference` writes it, and a test compares.

A row is a setting: its place in the YAML, its everyday names, its form, its default, whether a reload is enough for it,
the version that brought it, and its own description. What cannot be told of a setting is an error, not a gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from proxy.configuration import is_live
from proxy.settings import addresses, rule_model, values
from proxy.settings.model import Settings
from proxy.settings.shape import Shape, fields_of, shape_of
from proxy.settings.show import as_data
from proxy.settings.spellings import CONFIG, SPELLINGS, Spelling
from proxy.settings.values import TTL_PRESETS

PAGE = Path(__file__).parent / "configuration.md"
MARK = "<!-- what follows is made by `make reference` -->\n"
FIRST = "0.1.0"
SINCE: dict[str, str] = {}  # path -> the version that brought it, where that was not the first

_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
# Annotated types are told by what validates them; they have no name of their own at run time.
_FORMS: tuple[tuple[Any, str], ...] = (
    (values.Flag, "true or false"),
    (values.Count, "number, 0 or more"),
    (values.Positive, "number, 1 or more"),
    (values.Port, "port"),
    (values.Amount, "amount"),
    (values.Share, "share: 0.2 or 20%"),
    (values.Seconds, "time"),
    (values.SomeSeconds, "time above 0"),
    (values.Ttl, "time or preset"),
    (values.Size, "size"),
    (values.Word, "text"),
    (values.WordList, "list of texts"),
    (values.FilePath, "path"),
    (values.Name, "name"),
    (values.Visible, "text without spaces"),
    (values.Password, "secret"),
    (values.Username, "text"),
    (values.LogLevel, "level"),
    (values.Eviction, "`s3fifo` `lru` `fifo`"),
    (addresses.Pseudonym, "name"),
    (addresses.PathPrefix, "path prefix"),
    (addresses.AddedFieldName, "header"),
    (addresses.FieldName, "header"),
    (addresses.FieldValue, "text, kept secret"),
    (addresses.FieldNames, "list of headers"),
    (addresses.Networks, "list of CIDR"),
    (addresses.UpstreamUrls, "URL, or list of them"),
    (addresses.ListeningHost, "address"),
    (addresses.Token, "secret, 8 or more"),
    (addresses.RedisHost, "host"),
    (addresses.RedisUrl, "URL"),
    (addresses.RuleMethods, "list of methods"),
    (addresses.Methods, "list of methods"),
    (addresses.KeyPrefix, "prefix"),
    (rule_model.PathGlobs, "glob, or list of them"),
    (rule_model.Tags, "list of templates"),
    (rule_model.Invalidations, "list of globs or `tag:name`"),
    (rule_model.Status, "status"),
    (rule_model.ErrorStatus, "status, 400 to 599"),
    (Any, "anything"),
    (str, "text"),
    (int, "number"),
    (float, "number"),
)
# What a validator stands before in the model itself.
_TOLD = {
    "rules[].name": "text, at most 100",
    "rules[].host": "glob",
    "rules[].mode": "`on` `off` `shadow`",
    "rules[].conditions.status_codes": "list of statuses",
    "rules[].key.cookies": "list of names, or `ignore`",
    "rules[].key.body": "`none` `raw` `json` `graphql`, or a mapping",
    "rules[].rate_limit": "mapping, or a preset",
    "rules[].rate_limit.window": "time, 1s to 1d",
    "rules[].rate_limit.by": "`client_ip`, or a header",
    "rules[].cost": "amount, or a mapping",
    "rules[].tests[].request.method": "method",
    "rules[].tests[].request.url": "path or URL",
    "rules[].tests[].expect.same_key_as": "path or URL",
    "file.options": "mapping",
    "observe.tracing.endpoint": "URL",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting. `default` and `form` are cells of the table."""

    path: str
    names: tuple[Spelling, ...]
    form: str
    default: str
    live: bool
    since: str
    about: str


def page() -> str:
    """The whole page: its head as it stands there, and the tables anew. ValueError where the mark is missing."""
    head, mark, _ = PAGE.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE.name} wants the mark {MARK.strip()} where the tables begin")
    parts = [head + mark.rstrip("\n")]
    for name, field in Settings.model_fields.items():
        rows = list(_rows(_hint(Settings, name), name, field))
        parts += ["", f"## `{name}`", "", f"{_sentence(field.description)}{_more(name)}", "", *_table(rows)]
    return "\n".join(parts) + "\n"


def rows() -> Iterator[Row]:
    """Every setting, in the order of the page."""
    for name, field in Settings.model_fields.items():
        yield from _rows(_hint(Settings, name), name, field)


# -- rows --------------------------------------------------------------------------------------------------------------


def _rows(hint: Any, path: str, field: FieldInfo) -> Iterator[Row]:
    shape = shape_of(hint)
    below = shape.model or _items(shape)
    if below is None or path == "upstreams":
        yield _row(hint, path, field)
        return
    if shape.optional or shape.items:
        yield _row(hint, path, field)
    inside = f"{path}[]" if shape.items else path
    for name in fields_of(below):
        of = next(of for of, each in below.model_fields.items() if (each.alias or of) == name)
        yield from _rows(_hint(below, of), f"{inside}.{name}", below.model_fields[of])


def _items(shape: Shape) -> type[BaseModel] | None:
    return shape_of(shape.items).model if shape.items else None


def _row(hint: Any, path: str, field: FieldInfo) -> Row:
    names = tuple(spelling for spelling in SPELLINGS if path in spelling.paths)
    root = path.partition("[")[0]
    return Row(
        path,
        names,
        _form(path, hint),
        _default(path, hint, field),
        is_live(root),
        _since(path),
        field.description or "",
    )


def _since(path: str) -> str:
    return next((SINCE[known] for known in SINCE if path == known or path.startswith(f"{known}.")), FIRST)


def _hint(model: type[BaseModel], name: str) -> Any:
    return get_type_hints(model, include_extras=True)[name]


def _form(path: str, hint: Any) -> str:
    if path in _TOLD:
        return _TOLD[path]
    for known, form in _FORMS:
        if hint == known:
            return form
    if get_origin(hint) is Annotated:  # one that nobody has put into words: what it is at least
        return _form(path, get_args(hint)[0])
    if get_origin(hint) is tuple:
        return "list"
    if get_origin(hint) is Literal:
        return " ".join(f"`{word}`" for word in get_args(hint))
    if get_origin(hint) is dict:
        key, value = get_args(hint)
        return f"mapping: {_form(path, key)} to {'`upstream`' if path == 'upstreams' else _form(path, value)}"
    if shape_of(hint).model or _items(shape_of(hint)):
        return "mapping" if shape_of(hint).model else "list"
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    if get_origin(hint) not in (Union, UnionType) or len(arguments) != 1:
        raise LookupError(f"{path}: no form is known of {hint}; name it in _FORMS or _TOLD")
    return _form(path, arguments[0])


def _default(path: str, hint: Any, field: FieldInfo) -> str:
    if field.is_required():
        return "(needed)"
    if path in ("upstream.url", "redis.enabled"):
        return {"upstream.url": "(needed)", "redis.enabled": "`auto`"}[path]
    value = as_data(Settings(), reveal=True) if "[" not in path else None
    for name in path.split(".") if value is not None else ():
        value = value[name] if isinstance(value, dict) and name in value else None
    value = field.default if value is None else value
    form = _form(path, hint)
    return "none" if value is None else f"`{_plain(value, form)}`"


def _plain(value: Any, form: str) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() if form == "size" and value:
            unit = next(((of, name) for of, name in _SIZES if value % of == 0), (1, ""))
            return f"{value // unit[0]}{unit[1]}"
        case float() if form.startswith("time"):
            return f"{value:g}s"
        case float():
            return f"{value:g}"
        case str() if value.endswith(":"):
            return f'"{value}"'  # else a mapping to YAML
        case tuple() | list():
            return "[" + ", ".join(map(str, value)) + "]"
        case _:
            return str(value)


# -- the page ----------------------------------------------------------------------------------------------------------


def _table(rows: list[Row]) -> Iterator[str]:
    yield "| setting | flag, variable | form | default | reload | since | what |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        names = [f"`{each.flag}`" for each in row.names if each.flag]
        names += [f"`{name}`" for each in row.names for name in each.env]
        live = "yes" if row.live else "restart"
        cells = (f"`{row.path}`", " ".join(names), row.form, row.default, live, row.since, row.about)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _sentence(text: str | None) -> str:
    return f"{(text or '')[:1].upper()}{(text or '')[1:]}."


def _more(name: str) -> str:
    presets = ", ".join(f"`{word}` {seconds:g} s" for word, seconds in TTL_PRESETS.items())
    limits = ", ".join(f"`{word}` {limit} in {window} s" for word, (limit, window) in rule_model.RATE_PRESETS.items())
    flag, variable = CONFIG.flag, CONFIG.env[0]
    return {
        "rules": f" Presets of a ttl: {presets}. Presets of a rate limit: {limits}.",
        "upstream": f" The file itself is named by `{flag}` or `{variable}`.",
    }.get(name, "")


if __name__ == "__main__":
    PAGE.write_text(page())
