"""Bytes as people read them."""

_UNITS = ("B", "KB", "MB", "GB", "TB")


def spoken(size: float) -> str:
    """45.2MB: units of 1024 with one decimal, bytes whole."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f}{_UNITS[0]}" if unit == 0 else f"{size:.1f}{_UNITS[unit]}"
