"""Requests as a sender signs them."""

import base64
import hashlib
import hmac
import time


def signed(
    body: bytes, *, id: str = "msg_1", secret: bytes = b"secret-1", at: float | None = None, over: bytes | None = None
) -> dict[str, str]:
    """The headers of a request: written from the specification, not with what is tested."""
    stamp = str(int(time.time() if at is None else at))
    text = f"{id}.{stamp}.".encode() + (body if over is None else over)
    mac = base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{mac}"}
