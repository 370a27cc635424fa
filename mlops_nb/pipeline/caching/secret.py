"""Values that must not be kept, as what still tells one from another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mlops_nb.model.pipelines import Packed

if TYPE_CHECKING:
    from mlops_nb.model import Json


def keyed(name: str, value: Json) -> str:
    """Digest a value under the user's key, or the team's: nobody else can try values out.

    Parameters
    ----------
    name
        What has it: equal values of two names have two digests.
    value
        Anything that JSON can write.

    Raises
    ------
    BadSigningKey
        The key cannot be used.
    """
    from mlops_nb.packaging.signature import sign

    # A unit that holds the value itself, of a format that none has; only its signature is kept.
    text = json.dumps(value, sort_keys=True)
    return sign(Packed((name,), "keyed", (), text)).signature
