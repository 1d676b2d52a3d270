"""Addresses of repositories in registries."""

from typing import NamedTuple


class RepositoryAddress(NamedTuple):
    """`path` is the repository's name below the registry at `url`."""

    url: str
    path: str

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    @property
    def display(self) -> str:
        """As Docker writes it; http:// is kept where the host does not imply it."""
        short = f"{self.host}/{self.path}"
        return short if address_of(short).url == self.url else f"{self.url}/{self.path}"


def address_of(name: str) -> RepositoryAddress:
    """Of a name such as «registry.example.com/models/late»: https, unless http:// precedes it or the host is this one."""
    scheme, _, rest = name.rpartition("://")
    host, _, path = rest.partition("/")
    here = host.partition(":")[0] in ("localhost", "127.0.0.1")
    return RepositoryAddress(f"{scheme or ('http' if here else 'https')}://{host}", path.rstrip("/"))
