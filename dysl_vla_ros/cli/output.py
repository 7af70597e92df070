"""What commands print: tables, and lines that stay as they are."""

from __future__ import annotations

from rich.console import Console


class Output(Console):
    """The standard output, as wide as the terminal, or 80 columns where it is none."""

    def say(self, text: str) -> None:
        """A line that can be copied: a path in it is not cut, and its brackets are no style."""
        self.print(text, markup=False, highlight=False, soft_wrap=True)

    def tell(self, text: str) -> None:
        """Sentences for a reader, broken between words; nothing in them is to be copied."""
        self.print(text, markup=False, highlight=False)
