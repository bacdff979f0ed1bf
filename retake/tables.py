"""Tables of the commands: ids are printed whole, however narrow the terminal, to be copied."""

from rich.table import Table


def id_table(id_width: int, *others: str) -> Table:
    """A table whose first column holds ids of ``id_width`` characters."""
    table = Table()
    table.add_column("id", no_wrap=True, min_width=id_width)
    for name in others:
        table.add_column(name, overflow="fold")
    return table
