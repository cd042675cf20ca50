"""Secrets are masked however they are spelt, and nothing else is."""

from __future__ import annotations

import pytest

from agent.redact import redact, scrub

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
        (f'{{\\"primaryKey\\":\\"{KEY}\\"}}', '{\\"primaryKey\\":\\"***"}'),
        (f'shared_access_key = "{KEY}"', 'shared_access_key = "***"'),
        ("%22primaryKey%22%3A%22abc%22%7D", "%22primaryKey%22%3A%22***"),
        ("SharedAccessKey\\u003dabc\\u003d;x", "SharedAccessKey\\u003d***;x"),
        ("SharedAccessKeyName=owner", "SharedAccessKeyName=owner"),
        ("design=new", "design=new"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    """Connection strings, tokens, JSON and repr; names stay."""
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"it is {KEY[:-1]}{KEY[:-1]}, they say", "it is ***, they say"),
        ("Wm9vbS1ib29tLXRoZS1rZXk=", "***"),
        ("a\n-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\nb", "a\n*** (a private key)\nb"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMC4C\n(cut off)", "*** (a private key)"),
        ("SetCredential=name:abc\\\n  def\nUser=masthead", "SetCredential=name:***\nUser=masthead"),
        ('Environment="PROXY=http://me:pw@h" B=c\nNice=5', 'Environment="PROXY=***\nNice=5'),
        ("proxy http://me:pw@host:3128/", "proxy http://***@host:3128/"),
        (f"SharedAccessKey={KEY[:9]}\n{KEY[9:]}\nnext", "SharedAccessKey=***\n***\nnext"),
        (f"key:\n# {KEY[:7]}\n# {KEY[7:14]}\n# {KEY[14:]}\nx y", "key:\n# ***\n# ***\n# ***\nx y"),
        (f"a {KEY[:7]}\nm[8]: {KEY[7:14]}\nm[8]: {KEY[14:]}", "a ***\nm[8]: ***\nm[8]: ***"),
        (f'k = """\\\n {KEY[:9]}\\\n {KEY[9:]}"""', 'k = """\\\n ***\\\n ***"""'),
        ('password = "correct horse" # x', "password = *** # x"),
        ('{"wifiPassword": "Tr0ub4dor&3", "a": 1}', '{"wifiPassword": ***, "a": 1}'),
        ("the password is Tr0ub4dor&3 there", "the password is *** there"),
        ("psk=Tr0ub4dor&3", "psk=***"),
        ("curl --password Tr0ub4dor&3 --fail", "curl --password *** --fail"),
        ("Authorization: Bearer 755622d6d7a0b48c", "Authorization: Bearer ***"),
        ("X-API-Key: 755622d6d7a0b48c", "X-API-Key: ***"),
        ('"symmetricKey": "bXlzZWNyZXQxMjM0NTY="', '"symmetricKey": "***"'),
        ("https://755622d6d7a0@host/", "https://***@host/"),
        ("http://bob:hun@ter2@proxy:3128", "http://***@proxy:3128"),
        ('{"at":"http://me:pw@h","to":"x@y"}', '{"at":"http://***@h","to":"x@y"}'),
        ("Environment = A=hunter2\nNice=5", "Environment = A=***\nNice=5"),
        ('Environment= "MODEM_LOGIN=hunter2"', 'Environment= "MODEM_LOGIN=***'),
        ("Environment=\\\n  A=hunter2\nNice=5", "Environment=\\\n  A=***\nNice=5"),
        ("SetCredential = pw:hunter2", "SetCredential = pw:***"),
        ("SetCredentialEncrypted\t=\tpw:hunter2", "SetCredentialEncrypted\t=\tpw:***"),
        ('client_secret = "my secret phrase" # x', "client_secret = *** # x"),
        ('apn_token="ab,cd;ef gh" x', "apn_token=*** x"),
        ("api_key: 'ab cd'", "api_key: ***"),
        ('token = "it is \\"so\\" and so" x', "token = *** x"),
        ('{\\"token\\": \\"ab cd\\", \\"a\\": 1}', '{\\"token\\": ***, \\"a\\": 1}'),
        ('secret = "cut off by the\nnext', "secret = ***\nnext"),
        ("token=%22abc%22&a=1", "token=***&a=1"),
    ],
)
def test_scrub(text: str, expected: str) -> None:
    """Also what is not named as a secret, but is one."""
    assert scrub(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "LoadCredential=connection-string:masthead.connection-string",
        "run 9f3c01ab boot 0b6cbd8a-3f0a-4f51-9a3f-7c1d6a0e9a51",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "/usr/lib/systemd/system/systemd-timesyncd.service",
        "telemetry.report_interval_s = 60.0",
        "Nov 21 20:00:00 mast kernel: mmc0: error -110 whilst initialising SD card",
        'site = "north ridge"',
        "connecting again with a new token",
        "its token carries the clock (timedatectl); else: wrong key, unknown or disabled device",
        'token = "", site = "north ridge"',
        "https://host/path mail me@host",
        "Speculative Store Bypass: Vulnerable",
        "mast masthead[8]: Started\nmast masthead[8]: Stopping\nmast masthead[8]: Stopped",
    ],
)
def test_scrub_keeps_what_is_of_use(text: str) -> None:
    """Names, numbers of boots and runs, checksums, paths, configuration."""
    assert scrub(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "token",
            'token="',
            "-",
            "--",
            "SharedAccessKey=",
            "SetCredential=",
            "SetCredential= ",
            "://a@",
            "a@",
        ),
        *("Environment = ", 'password="\\', "\\", "\\\n", " ", "A1a\n"),
    ],
)
def test_a_long_line_takes_no_longer_than_its_length(text: str) -> None:
    """With time by the square of it this would not come to an end."""
    long = text * (500_000 // len(text))
    assert scrub(long)
