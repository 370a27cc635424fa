"""What is skipped for speed would have found nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_redact import KEY, TOKENS

from mlops_nb.redact import assigned, credentials, glance, known, redact, tokens
from mlops_nb.redact.marks import mark

PLACES = [
    "postgresql://ann:hunter2@db/x", "https://h/d?x=1&access_token=abc123def4&y=2", "?sig=", "&amp;",
    "requests.get(u, headers={'Authorization': 'Bearer abcdef0123456789abcdef'})",
    "{'Authorization': 'Basic YW5uOmh1bnRlcjI='}", "X-Api-Key: abc123def", "x-auth-token : abc123def",
    "get(u, auth=('ann', 'hunter2'))", "HTTPBasicAuth('ann', 'hunter2')", "bearer ", "AUTH",
    "'Server=db;User Id=ann;Password=hunter2;'", '"host=db user=ann pwd=hunter2 dbname=x"',
    '"AccountName=me;AccountKey=abcd0123+/==;"', '"endpoint=x;SharedAccessKey =abcd0123"',
    f"wandb.login(key='{'0123456789abcdef' * 2}')", "\nDB_PASSWORD=abc-123-def\n", "\nMY_KEY_2=abc-1-def\n",
    "password = 'correct-horse'", "PASSWORT='abcdef'", "passphrase: 'abc def1'", "db_pass='hunter22'",
    "contraseña = 'abcdef'", "CONTRASEÑA = 'abcdef'", "client_secret=b'wJalrXUtn'", "credentials = 'a1b2c3'",
    "api-key: str = 'abc123'", "ACCESSKEY='abc123'", "signing_key='abc123'", "sort_key='abc123'",
    "accountkey 'abc123'", "token = 'abc123def'", "pwd='abc123def'", "%env API_KEY=abc123",
    "!tool --token abc123def --x", "set_tag('api_key', 'abc123')", f"KAGGLE_KEY = '{'0123456789abcdef' * 2}'",
    "pass", "key", "keys =", "TOKENS", "secretary = 'Miss Jones1'", "\u0130", "\u0131", "K", "ä", "'", '"', "=", " ",
    "\n", "?", "@", "://", ":", "_", "-", "x" * 20, "xoxb-0123456789", "xapp-1-0123456789", "\ud800",
]  # fmt: skip
TEXTS = st.lists(
    st.sampled_from([*PLACES, *TOKENS.values(), KEY]) | st.text(max_size=5), max_size=8
)


@pytest.fixture(autouse=True)
def nothing_known():
    known.forget()


def unfiltered(text: str) -> str:
    """Every pattern on all of the text, one after the other."""
    for _, kinds in tokens._TOKENS:
        for name, _, pattern in kinds:
            text = re.sub(pattern, tokens._Mark(name), text)
    text = re.sub(tokens._PRIVATE_KEY, mark("PRIVATE_KEY"), text)
    if "://" in text:  # the others are for addresses
        text = re.sub(credentials._URL, credentials._url, text)
        if "?" in text:
            text = re.sub(credentials._QUERY, credentials._query, text)
    for one in credentials.CREDENTIALS:
        text = re.sub(one.pattern, one.replace, text)
    return assigned.replaced(text, everything_assigned(text))


def everything_assigned(text: str) -> assigned.Found:
    lowered = "".join(letter.lower()[:1] for letter in text)
    spans: assigned.Found = {}
    for stem in assigned.STEMS:
        for found in re.finditer(stem, lowered):
            is_doubtful = assigned._is_doubtful(stem, lowered, found.start())
            if is_doubtful is not None:
                end = found.end() + (stem == "credential" and lowered[found.end() :][:1] == "s")
                assigned._take_value(text, found.start(), end, spans, is_doubtful=is_doubtful)
    for found in re.finditer(assigned._CONSTANT, text):
        if assigned.is_key(found["value"]) and assigned.is_literal(found["value"]):
            spans.setdefault(found.start("value"), (found.end("value"), found["name"]))
    return spans


@settings(max_examples=400, deadline=None)
@given(TEXTS.map("".join))
def test_the_quick_way_finds_what_all_patterns_find(text):
    assert redact(text) == unfiltered(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS.map(" ".join), st.sampled_from(["upper", "lower", "swapcase"]))
def test_the_quick_way_finds_the_same_in_any_case(text, case):
    text = getattr(text, case)()
    assert redact(text) == unfiltered(text)


@pytest.mark.parametrize("place", [*PLACES, *TOKENS.values(), KEY])
@pytest.mark.parametrize("frame", ["{}", "{}\n", "x\n{}", "ä '{}'", "\u0130 {}", "\ud800 {}"])
def test_each_pattern_alone_is_found_the_quick_way(place, frame):
    text = frame.format(place)
    assert redact(text) == unfiltered(text)


def test_the_texts_hold_secrets_of_every_kind():
    """So that no comparison above is of nothing with nothing."""
    found = [place for place in (*PLACES, *TOKENS.values(), KEY) if unfiltered(place) != place]
    assert len(found) > len(TOKENS) + 25
    patterns = [one.pattern for one in credentials.CREDENTIALS]
    for pattern in [*patterns, assigned._CONSTANT, credentials._URL, credentials._QUERY]:
        assert any(re.search(pattern, place) for place in found)


@given(st.text(), st.sampled_from(sorted(glance.EVERYTHING - {"slack"})), st.text())
@example("", "key", "\u212a")
def test_a_word_that_is_there_is_told(before, word, after):
    for written in (word, word.upper()):
        text = f"{before}{written}@{after}"
        assert word in glance.words_in(text, text.encode("utf-8", "surrogatepass"))


def test_ordinary_text_has_none_of_the_words():
    text = "model.fit(train_x, train_y)\nprint(f'accuracy {accuracy:.3f}')\n"
    assert glance.words_in(text, text.encode()) == frozenset()
    assert list(glance.runs_in(text.encode())) == []
