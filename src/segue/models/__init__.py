"""Models behind an endpoint that speaks OpenAI's chat-completions protocol: OpenAI, vLLM, llama.cpp, Ollama and more.

``ChatModel`` is a model like another: steps call it, and pipelines name it. It needs ``pip install 'segue[openai]'``.
"""

from segue.models.chat import ChatModel
from segue.models.errors import (
    AnswerCutOff,
    ContentFiltered,
    EmptyAnswer,
    LengthReached,
    ModelError,
    ModelRefused,
    ModelTimedOut,
    ModelUnavailable,
    NotTheProtocol,
)
from segue.models.protocol import Prompt, Reply

__all__ = [
    "AnswerCutOff",
    "ChatModel",
    "ContentFiltered",
    "EmptyAnswer",
    "LengthReached",
    "ModelError",
    "ModelRefused",
    "ModelTimedOut",
    "ModelUnavailable",
    "NotTheProtocol",
    "Prompt",
    "Reply",
]
