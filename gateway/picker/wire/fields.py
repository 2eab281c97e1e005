"""Header fields of one connection's peer, decoded from HPACK within bounds."""

from __future__ import annotations

from hpack import Decoder, HPACKError, OversizedHeaderListError

from gateway.picker.wire.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, H2Error
from gateway.picker.wire.limits import HEADER_LIST

# A block that is nothing but indexes is short, and a peer has few of them.
_KNOWN_SIZE, _KNOWN_BLOCKS = 64, 64


class FieldReader:
    """The decoder of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_LIST)
        self._known: dict[bytes, list[tuple[str, str]]] = {}

    def read(self, block: bytes) -> list[tuple[str, str]]:
        """The fields of a block; H2Error where it is no HPACK or more than 16 KiB.

        A block of nothing but short indexes means the same until the table changes.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            fields = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except OversizedHeaderListError:
            # The rest is not decoded, so the peer's table and ours differ from here on.
            raise H2Error(ENHANCE_YOUR_CALM, f"headers of more than {HEADER_LIST} bytes") from None
        except (HPACKError, UnicodeDecodeError) as error:
            raise H2Error(COMPRESSION_ERROR, f"headers: {str(error)[:100]}") from None
        if not block or min(block) <= 0x80 or max(block) == 0xFF:
            self._known.clear()
        elif len(block) <= _KNOWN_SIZE and len(self._known) < _KNOWN_BLOCKS:
            self._known[block] = fields
        return fields
