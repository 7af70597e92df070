"""Who may read the page and who may write: by address, by the page's own token, by origin.

A browser sends a page of anybody's to 127.0.0.1 if its owner says so (DNS rebinding), and lets any
page open a WebSocket to any address. So the name in ``Host`` must be one of this machine's, and
``Origin``, which only browsers send, must be the page itself.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dysl_vla_ros.errors import ConfigError

LOOPBACK = '127.0.0.1'
_LOCAL_NAME = 'localhost'


def new_token() -> str:
    """A secret of 128 bits, in letters that need no quoting in an address."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class Access:
    """The rules for one address.

    Attributes:
        host: Address that the server listens on.
        token: Of the page; it stands in the address that is printed.
    """

    host: str = LOOPBACK
    token: str = field(default_factory=new_token, repr=False)

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            ConfigError: It is no address of this machine.
        """
        if self.host == _LOCAL_NAME:
            object.__setattr__(self, 'host', LOOPBACK)
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise ConfigError(
                '--host', self.host, f'an address of this machine, such as {LOOPBACK} or 0.0.0.0'
            ) from None

    @property
    def local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    def address(self, port: int) -> str:
        """What to open in a browser, the token in it."""
        shown = self.host
        if ipaddress.ip_address(shown).is_unspecified:
            shown = socket.gethostname()
        elif ':' in shown:
            shown = f'[{shown}]'
        return f'http://{shown}:{port}/?token={self.token}'

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Why a request is not answered, whoever asks; '' when it may be.

        Args:
            headers: Of the request.
        """
        host, origin = headers.get('Host', ''), headers.get('Origin')
        if not self._is_ours(host):
            return f'Host is {host[:80]!r}: expected an address of this machine'
        if origin is not None and origin != f'http://{host}':
            return f'Origin is {origin[:80]!r}: expected http://{host}'
        return ''

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long whether or not it is nearly right."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def may_read(self, token: str) -> bool:
        """On this machine anybody; from elsewhere whoever has the token."""
        return self.local or self.knows(token)

    def may_write(self, token: str) -> bool:
        """Whoever has the token, nobody else, on this machine neither."""
        return self.knows(token)

    def _is_ours(self, host: str) -> bool:
        """A literal address cannot be rebound; a name must be this machine's own."""
        try:
            name = urlsplit(f'//{host}').hostname or ''
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            names = {_LOCAL_NAME} if self.local else {_LOCAL_NAME, own, f'{own}.local'}
            return name in names
        return address.is_loopback or not self.local
