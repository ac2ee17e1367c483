"""A text that tests edit: an edit that finds nothing fails, instead of testing the text as it was."""


class Editable(str):
    def replace(self, old: str, new: str, count: int = -1) -> "Editable":  # type: ignore[override]
        assert old in self, f"nothing to edit: {old!r} does not stand in the text"
        return Editable(super().replace(old, new, count))
