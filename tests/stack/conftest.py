from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.processes import sweep
from tests.stack import product


@pytest.fixture
def run(tmp_path: Path) -> Iterator[product.Run]:
    """A stand-in product in a folder of its own, ready to be started; whatever is left of it is ended afterwards."""
    made = product.make(tmp_path / "product")
    yield made
    sweep(str(made.folder), patience=0)
