"""Names that users give: what can be part of an identity."""

from segue.errors import DeclarationError


def check_name(kind: str, name: str) -> str:
    """The name, if it can be part of an identity.

    Raises:
        DeclarationError: it cannot.
    """
    if not name or len(name) > 100 or not name.isprintable() or any(c in name for c in "/#@") or name != name.strip():
        raise DeclarationError(
            f"a {kind}'s name is 1 to 100 printable characters without '/', '#' and '@', not {name!r:.120}"
        )
    return name
