"""The local web page of bnlens: labs for the theory, saved reports, and a JSON API over the same functions.

Server-rendered pages whose whole state is in their address; they load nothing from elsewhere. `create_app` builds the
application, `serve` runs it, `export_site` writes it as files that open from disk. Needs the extra ``bnlens[web]``.
"""

from __future__ import annotations

from bnlens.web._optional import require_web

require_web()

from bnlens.web.app import create_app  # noqa: E402 - what is missing is said first, in one sentence
from bnlens.web.export import export_site  # noqa: E402
from bnlens.web.serving import serve  # noqa: E402

__all__ = ["create_app", "export_site", "serve"]
