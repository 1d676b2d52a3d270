"""`production` and `previous` in the images' repository: for people and other tools, written and never read to decide."""

from contract.documents import Image
from images.references import find


class RegistryTags:
    def set(self, tag: str, image: Image) -> bool:
        """The same manifest under another name; True once the repository has confirmed its digest."""
        repository, digest = find(image.reference)
        repository.name(digest, tag)
        return True

    def get(self, tag: str, beside: Image) -> str | None:
        """The digest with this tag in the repository of this image."""
        return find(beside.reference)[0].resolve(tag)
