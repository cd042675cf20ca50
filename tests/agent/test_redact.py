"""Secrets are masked however they are spelt, and nothing else is."""

from __future__ import annotations

import pytest

from agent.redact import redact

KEY = "bm90IGEgc2VjcmV0+/0="


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"HostName=h;DeviceId=d;SharedAccessKey={KEY}", "HostName=h;DeviceId=d;SharedAccessKey=***"),
        (f"SharedAccessKey={KEY};GatewayHostName=g", "SharedAccessKey=***;GatewayHostName=g"),
        ("SharedAccessSignature sr=h%2Fd&sig=ab%2Bc%3D&se=1", "SharedAccessSignature sr=h%2Fd&sig=***&se=1"),
        ("sr%3Dh%26sig%3Dabc%26se", "sr%3Dh%26sig%3D***"),
        (f'{{"primaryKey": "{KEY}", "status": 1}}', '{"primaryKey": "***", "status": 1}'),
        (f"{{'secondaryKey': '{KEY}'}}", "{'secondaryKey': '***'}"),
        (f"a\nSharedAccessKey={KEY}\nb", "a\nSharedAccessKey=***\nb"),
        ("SharedAccessKeyName=owner", "SharedAccessKeyName=owner"),
        ("design=new", "design=new"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    """Connection strings, tokens, JSON and repr; names stay."""
    assert redact(text) == expected
