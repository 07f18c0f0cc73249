"""What can go wrong between a question and its answer.

    ModelError                    has .model, .base_url, .status, .retry_after, .raw
    ├── ModelUnavailable          no connection; HTTP 408, 409, 429, 5xx (also a ``ConnectionError``)
    │   ├── ModelTimedOut         … no answer in time (also a ``TimeoutError``)
    │   └── AnswerCutOff          … a stream ended before the answer did
    ├── ModelRefused              HTTP 400, 401, 403, 404, 422 and other 4xx (also ``Permanent``: never retried)
    ├── NotTheProtocol            what came is not a chat completion
    ├── LengthReached             the model stopped at max_tokens
    ├── ContentFiltered           the model or its provider declined to answer
    └── EmptyAnswer               the answer has no text

``segue.transient`` is true for ``ModelUnavailable`` and what derives from it; ``Retry`` without ``on`` retries all but
``ModelRefused``. No message holds the api key.
"""

from segue.errors import Permanent, SegueError

KEPT = 2_000
"""Characters of what came that an error keeps."""


class ModelError(SegueError):
    """A model gave no answer that can be used.

    Attributes:
        model: its name.
        base_url: where it was asked.
        status: the HTTP status, or None where no answer came.
        retry_after: seconds to wait before another try, if the endpoint said so; a step's retry waits that long.
        raw: the beginning of what came, 2,000 characters at most.

    >>> try:
    ...     await llm.ask("…")
    ... except ModelError as error:
    ...     print(error.model, error.status, error.raw)
    """

    def __init__(
        self,
        problem: str,
        *,
        model: str = "",
        base_url: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        raw: str = "",
    ) -> None:
        self.model, self.base_url = model, base_url
        self.status, self.retry_after, self.raw = status, retry_after, raw
        super().__init__(f"{model} at {base_url}: {problem}" if model else problem)


class ModelUnavailable(ModelError, ConnectionError):
    """The endpoint cannot be had now: no connection, or HTTP 408, 409, 429 or 5xx. Another try may get through.

    >>> @step(retry=Retry(3, on=ModelUnavailable))
    ... async def answer(question: str) -> str: ...
    """


class ModelTimedOut(ModelUnavailable, TimeoutError):
    """No answer within the model's ``timeout``."""


class AnswerCutOff(ModelUnavailable):
    """A stream ended before the answer did. ``raw`` is the text that had come."""


class ModelRefused(ModelError, Permanent):
    """The endpoint does not take this request, whatever the hour: HTTP 4xx other than 408, 409 and 429. Not retried."""


class NotTheProtocol(ModelError):
    """What came is not a chat completion: other JSON, a proxy's HTML, a body without end. ``raw`` is how it begins."""


class LengthReached(ModelError):
    """The model stopped because it may write no more tokens (``max_tokens``). ``raw`` is the beginning of the text."""


class ContentFiltered(ModelError):
    """The model or its provider declined to answer. ``raw`` is what it said instead, if anything."""


class EmptyAnswer(ModelError):
    """The answer has no text."""
