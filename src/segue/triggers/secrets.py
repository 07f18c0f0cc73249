"""Secrets by the name of the environment variable that they are in, and what is signed with them."""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from segue.errors import DeclarationError, UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Env:
    """A secret that is in an environment variable. Only its name is ever shown.

    Attributes:
        name: of the variable.
    """

    name: str

    def read(self) -> bytes:
        """The secret: of ``whsec_…`` what its base64 says, else the text.

        Raises:
            UsageError: the variable is not set, or says no secret.
        """
        text = os.environ.get(self.name, "")
        if not text:
            raise UsageError(f"the environment variable {self.name} is not set: it holds the secret of a webhook")
        if not text.startswith("whsec_"):
            return os.fsencode(text)
        try:
            secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            secret = b""
        if not secret:
            raise UsageError(f"the environment variable {self.name} begins with whsec_, but no base64 follows")
        return secret


def env(name: str) -> Env:
    """A secret in an environment variable. It is read when a server starts, and stands in no code, record or log.

    Raises:
        DeclarationError: no variable is named like that.

    >>> webhook("/traffic", secret=env("TRAFFIC_SECRET"))
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError("env(…) takes the name of an environment variable, such as TRAFFIC_SECRET")
    return Env(name)


def signature(secret: bytes, id: bytes, timestamp: bytes, body: bytes) -> bytes:
    """What a sender signs with, as https://www.standardwebhooks.com has it: ``v1,`` and base64 of an HMAC-SHA256."""
    digest = hmac.new(secret, b".".join((id, timestamp, body)), hashlib.sha256).digest()
    return b"v1," + base64.b64encode(digest)


def is_signed(secrets: Sequence[bytes], signatures: bytes, id: bytes, timestamp: bytes, body: bytes) -> bool:
    """Whether one of these signatures, with a space between them, is by one of these secrets."""
    given = signatures.split(b" ")[:MOST]
    return any(
        hmac.compare_digest(one, right)
        for right in [signature(secret, id, timestamp, body) for secret in secrets]
        for one in given
    )


MOST = 10
"""Signatures of one request that are looked at."""
