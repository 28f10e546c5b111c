"""The page at `/api/docs` to try the API, from files of an installed package: it works without a network.

What must stay true: nothing is loaded from elsewhere, and no script runs but the two that the page names.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

import swagger_ui_bundle
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
"""What the page loads. Types are said here: looking them up reads the machine's own tables, in the loop."""
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    """The page and what it loads."""
    page = bytes(
        get_swagger_ui_html(
            openapi_url="/api/openapi.json",
            title="Stoker API",
            swagger_js_url="/api/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/api/docs/assets/swagger-ui.css",
            swagger_favicon_url="/api/docs/assets/favicon-32x32.png",
        ).body
    )
    headers = {"content-security-policy": _policy(page)}

    @app.get("/api/docs/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(Path(swagger_ui_bundle.swagger_ui_path) / name, media_type=ASSETS[name])

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def _policy(page: bytes) -> str:
    """What the page may do. Its own script is inside it, so it is named by what it is; styles, Swagger UI makes as it goes."""
    digests = (hashlib.sha256(script).digest() for script in _INLINE.findall(page))
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {scripts}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


__all__ = ["ASSETS", "add_docs"]
