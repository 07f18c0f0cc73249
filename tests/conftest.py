"""Each test leaves the process as it found it: names that it declared are free again for the next."""

from collections.abc import Generator

import pytest

from segue.runtime import controls, registry


@pytest.fixture(autouse=True)
def names_are_free_again() -> Generator[None, None, None]:
    registries = (registry.FLOWS, registry._steps, controls._declared)  # pyright: ignore[reportPrivateUsage]
    before = [dict(names) for names in registries]
    yield
    for names, known in zip(registries, before, strict=True):
        added = [name for name in names if name not in known]
        names.update(known)  # pyright: ignore[reportArgumentType, reportCallIssue]
        for name in added:
            del names[name]
    controls._controls.clear()  # pyright: ignore[reportPrivateUsage]
