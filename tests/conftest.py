"""Options and skips that all tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from bench.models import SHARED

FEW = 1  # cases of a test that are in the fast part: two took three minutes
ONE_IN = 12  # of the cases of sampled tests
GOLDEN = Path(__file__).parent / "golden"
NEEDS_MODELS = pytest.mark.skipif(
    not SHARED.exists(), reason="the real models are not beside the project (../shared/models)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fast part has one case of every test, and fewer of sampled ones: always the same."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=_draw):
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for same in cases.values():
        for place, item in enumerate(same):
            sampled = item.get_closest_marker("sampled") is not None
            if place >= FEW or (sampled and _draw(item) % ONE_IN):
                item.add_marker("slow")


def _draw(item: pytest.Item) -> int:
    return crc32(item.nodeid.encode())


@pytest.fixture(autouse=True)
def no_records_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    """What somebody tuned on this machine must not change what is tested."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compare text with golden/<test name>.txt; `--update-golden` writes it instead."""
    path = GOLDEN / f"{request.node.name}.txt"

    def check(text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8"), (
            f"run with --update-golden and read the diff of {path.name}"
        )

    return check
