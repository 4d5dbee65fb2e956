"""Secrets pasted into the file, found by the marks their issuers gave them. Neither a message nor a fix ever repeats one.

`redact` blanks them in any text that is shown, since the line around a Problem may hold one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kap.config.problem import Problem
from kap.document.toml import Document

# What it is -> its mark. Sources: each issuer's documentation of its token formats; RFC 7468 for PEM, RFC 7519 for JWT.
_MARKS: tuple[tuple[str, str], ...] = (
    ("a GitHub token", r"gh[pousr]_[A-Za-z0-9]{20,255}"),
    ("a GitHub token", r"github_pat_[A-Za-z0-9_]{22,255}"),
    ("a GitLab token", r"gl(?:pat|dt|rt|ptt|cbt|agent|soat)-[A-Za-z0-9_.-]{20,}"),
    ("an Anthropic key", r"sk-ant-[A-Za-z0-9_-]{16,}"),
    ("an OpenAI key", r"sk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_-]{20,}"),
    ("a Stripe key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("an AWS access key", r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    ("a Google API key", r"AIza[A-Za-z0-9_-]{35}"),
    ("a Google OAuth secret", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("a Slack webhook", r"hooks\.slack\.com/services/[A-Za-z0-9/_+-]{20,}"),
    ("an npm token", r"npm_[A-Za-z0-9]{30,}"),
    ("a package index token", r"pypi-[A-Za-z0-9_-]{50,}"),
    ("a Hugging Face token", r"hf_[A-Za-z0-9]{30,}"),
    ("a DigitalOcean token", r"do[opr]_v1_[a-f0-9]{64}"),
    ("a SendGrid key", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("a Docker token", r"dckr_pat_[A-Za-z0-9_-]{20,}"),
    ("a Linear key", r"lin_api_[A-Za-z0-9]{30,}"),
    ("a private key", r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----[^-]{0,20000}"),
    ("a JSON Web Token", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("a password in a URL", r"(?<=://)[^\s/:@\"'#?]{1,100}:(?!\$\{)[^\s/:@\"'#?]{1,200}(?=@)"),
)
_SECRET = re.compile("|".join(f"(?P<s{count}>{mark})" for count, (_, mark) in enumerate(_MARKS)))
# What documentation shows in place of a secret is none.
_PLACEHOLDER = re.compile(r"(?i)x{6,}|\.\.\.|<[a-z_ -]+>|\*{4,}|user:pass(?:word)?$|your[-_]")


def find(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, what it is) of each secret in `text`, in characters."""
    for match in _SECRET.finditer(text):
        if not _PLACEHOLDER.search(match[0]):
            assert match.lastgroup is not None
            yield match.start(), match.end(), _MARKS[int(match.lastgroup[1:])][0]


def redact(text: str) -> str:
    """`text` with every character of a secret replaced by ``*``, so that columns stay where they are."""
    for start, end, _ in find(text):
        text = text[:start] + re.sub(r"[^\s]", "*", text[start:end]) + text[end:]
    return text


def in_document(document: Document) -> Iterator[Problem]:
    """``config.secret`` for each secret anywhere in the text, comments included; it need not be TOML."""
    hint = 'take it out and revoke it; give kap the name of a variable: "${NAME}"'
    for start, end, what in find(document.text):
        yield Problem("config.secret", f"this looks like {what}", span=document.source.span(start, end), hint=hint)
