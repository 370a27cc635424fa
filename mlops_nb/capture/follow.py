"""Follow the calls of a method without being in their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.capture.guard import guard, is_off

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    After = Callable[[tuple[Any, ...], Mapping[str, Any], Any], None]


def follow(owner: object, name: str, after: After, *, what: str) -> Callable[[], None]:
    """Call `after` with arguments and answer of each call of ``owner.name``.

    The original is called exactly once, first and outside of the guard, and its answer is given
    back as it is.

    Parameters
    ----------
    owner
        An instance; its class is not touched.
    what
        The facet that is switched off if `after` keeps failing.

    Returns
    -------
    callable
        Undoes it. If somebody else has wrapped the method since, ours stays inside of theirs and
        only passes on.
    """
    original = getattr(owner, name)
    had_own = name in vars(owner)
    is_on = True

    def followed(*args: Any, **kwargs: Any) -> Any:
        # Not a frame of the user's: IPython leaves it out of tracebacks.
        __tracebackhide__ = True
        answer = original(*args, **kwargs)
        if is_on and not is_off(what):
            with guard(what):
                after(args, kwargs, answer)
        return answer

    def undo() -> None:
        nonlocal is_on
        is_on = False
        if vars(owner).get(name) is followed:
            if had_own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)

    setattr(owner, name, followed)
    return undo
