"""The bar that shows how far a fit is."""
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Called with the stage, the pass, the number of passes and figures by name."""


def shown_on(bar: Any) -> Progress:
    """What a fit calls, shown on a bar of tqdm."""
    def show(stage: str, number: int, total: int, info: dict[str, Any]) -> None:
        bar.total, bar.n = (number if stage == "measure" else total), number
        bar.set_description(stage, refresh=False)
        bar.set_postfix(info)
    return show


@contextmanager
def progress_bar(progress: bool | Progress | None) -> Iterator[Progress | None]:
    """What a fit calls: a function that is given, a bar for True (in a notebook, one of the notebook), nothing otherwise."""
    if progress is not True:
        yield progress or None
        return
    from tqdm import TqdmWarning
    with warnings.catch_warnings():
        # in a notebook without widgets the bar is of letters, which needs no words
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    with tqdm(leave=False) as bar:
        yield shown_on(bar)
