"""``bnlens serve``: the labs and the paper in a browser, from this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

__all__ = ["serve_command"]


def serve_command(
    folder: Annotated[
        Path, Option(metavar="DIR", help="Folder with saved reports and the results of reproduce.")
    ] = Path("bnlens-out"),
    host: Annotated[str, Option(metavar="ADDRESS", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, metavar="PORT", help="Port; 0 for any that is free.")] = 8765,
    open_browser: Annotated[bool, Option("--open/--no-open", help="Open the page in a browser.")] = True,
    export: Annotated[
        Path | None,
        Option(metavar="DIR", show_default=False, help="Write the pages to files that open from disk, and end."),
    ] = None,
) -> None:
    """Show labs, saved reports and findings in a browser. Nothing leaves this machine; Ctrl-C ends it."""
    from bnlens import web
    from bnlens._progress import counter
    from bnlens.errors import UsageError
    from bnlens.web.security import is_loopback

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--folder {folder} is a file; give the folder that holds reports")
    if export is not None:
        with counter("writing pages") as progress:
            page = web.export_site(folder, export, progress=progress)
        typer.echo(f"Written: {page}")
        return

    def ready(url: str) -> None:
        if not is_loopback(host):
            danger = (
                f"can use this page, read the reports in {folder} and keep its processors busy. There is no password."
            )
            typer.echo(f"Warning: listening at {host}: everyone who can reach this machine {danger}", err=True)
        typer.echo(f"bnlens is at {url} (Ctrl-C ends it)")
        if open_browser:
            typer.launch(url)

    web.serve(web.create_app(folder, host=host), host=host, port=port, ready=ready)
