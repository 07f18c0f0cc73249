"""What an answer has to be, as JSON Schema: so that it can be judged where the code that asks is not at hand."""

from typing import Any, cast, get_args

import msgspec

Schema = dict[str, Any]
"""A JSON Schema (draft 2020-12). An empty one allows everything."""


def schema_of(kind: Any) -> Schema:
    """The schema of an annotation; the empty one, where its values have no form that JSON Schema knows.

    >>> schema_of(bool)
    {'type': 'boolean'}
    """
    try:
        return _closed(msgspec.json.schema(kind))
    except Exception:
        return _closed(_by_pydantic(kind))


def _closed(schema: Schema) -> Schema:
    """The schema, but that keys which it does not name are refused: a misspelt one would be dropped in silence."""
    parts = {**schema.get("properties", {}), **schema.get("$defs", {})}
    for part in (*parts.values(), *schema.get("anyOf", ()), schema.get("items")):
        if isinstance(part, dict):
            _closed(cast("Schema", part))
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def _by_pydantic(kind: Any) -> Schema:
    if not any(hasattr(part, "__pydantic_validator__") for part in (kind, *get_args(kind))):
        return {}
    import pydantic

    try:
        return pydantic.TypeAdapter(kind).json_schema()
    except Exception:
        return {}


def misfits(schema: Schema, value: Any, most: int = 5) -> list[str]:
    """Why a value is not what the schema asks for, each with the path to the part; nothing if it is.

    >>> misfits({"type": "object", "properties": {"age": {"type": "integer"}}}, {"age": "old"})
    ['at $.age, "old" is not of type "integer"']
    """
    if not schema:
        return []
    import jsonschema_rs

    try:
        errors = jsonschema_rs.validator_for(schema).iter_errors(value)
        return [f"at {_path(error.instance_path)}, {error.message:.300}" for error, _ in zip(errors, range(most))]  # noqa: B905
    except jsonschema_rs.ValidationError:  # the schema itself: whoever asked will judge the answer
        return []
    except ValueError as error:  # what JSON cannot hold
        return [f"at $, {error}"]


def one_of(words: list[str], **objects: Schema) -> Schema:
    """The schema of one of these words, or of an object with one of these keys and a value of its schema.

    >>> misfits(one_of(["retry"], edit={"type": "integer"}), {"edit": 3})
    []
    """
    definitions: Schema = {}
    forms: list[Schema] = [{"enum": words}]
    for key, schema in objects.items():
        value = dict(schema)
        definitions |= value.pop("$defs", {})  # what refers to them does so from the root
        form = {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}
        forms.append(form)
    return {"anyOf": forms, "$defs": definitions} if definitions else {"anyOf": forms}


def _path(parts: list[Any]) -> str:
    return "$" + "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in parts)


def spelled(schema: Schema) -> str:
    """What the schema asks for, in a few words for a person.

    >>> spelled({"enum": ["yes", "no"]}), spelled({"type": "boolean"})
    ('"yes" or "no"', 'true or false')
    """
    root = schema
    if "$ref" in schema:
        schema = cast("Schema", root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {}))
    kind, defs = schema.get("type"), {"$defs": root.get("$defs", {})}
    if "enum" in schema:
        return " or ".join(msgspec.json.encode(value).decode() for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(spelled({**part, **defs}) for part in schema["anyOf"])
    if kind == "object":
        fields = cast("dict[str, Schema]", schema.get("properties", {}))
        needed = schema.get("required", [])
        named = [f"{name}{'' if name in needed else '?'}: {spelled({**part, **defs})}" for name, part in fields.items()]
        return "{" + ", ".join(named) + "}" if named else "an object"
    if kind == "array":
        items = cast("Schema | None", schema.get("items"))
        return f"a list of {spelled({**items, **defs})}" if items else "a list"
    words = {"boolean": "true or false", "string": "text", "number": "a number", "integer": "a whole number"}
    return words.get(str(kind), "null" if kind == "null" else "anything") + _bounds(schema)


def _bounds(schema: Schema) -> str:
    names = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    found = [f"{words} {schema[name]:g}" for name, words in names.items() if isinstance(schema.get(name), int | float)]
    return f" ({', '.join(found)})" if found else ""
