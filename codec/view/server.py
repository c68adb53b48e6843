"""The server of the pages. It answers this machine alone, and only who knows the session's token.

A page asks for pictures by number, so no path that it sends is ever opened. It sends no method but GET, and nothing is
written to disk; browsers are told to keep nothing, too.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flask import Blueprint, Flask, Response, abort, redirect, request, url_for
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response as AnyResponse

from codec.format.headers import MAX_ERROR, MAX_QUALITY
from codec.images.goals import DEFAULT_EFFORT, DEFAULT_QUALITY, EFFORTS
from codec.report import heatmap, templates
from codec.report.rows import Rows, rows_of
from codec.view.desk import Desk, heat_png, png
from codec.view.subjects import Subject
from codec.view.wishes import wish_of
from codec.view.worker import EXPECTED, Report, Worker, message_of

HOST = "127.0.0.1"
TOKEN_BYTES = 16
FOLDER = Path(__file__).parent / "assets"
ASSETS = {
    path.name: path.read_bytes()
    for path in (*sorted(FOLDER.glob("*.css")), *sorted(FOLDER.glob("*.js")), templates.FOLDER / "shared.css")
}
TYPES = {".css": "text/css", ".js": "text/javascript"}
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address has the token
    "X-Content-Type-Options": "nosniff",
}
PAGE_FACTS = {
    "default_effort": DEFAULT_EFFORT,
    "quick_effort": EFFORTS[0],
    "default_quality": DEFAULT_QUALITY,
    "most_quality": MAX_QUALITY,
    "most_error": MAX_ERROR,
}


def application(subjects: Sequence[Subject], token: str, worker: Worker) -> Flask:
    """Return the application that serves pictures below the path of a token."""
    app = Flask(__name__, static_folder=None)
    # A page of another site may point a name of its own at this machine. Its requests have that name as their host.
    app.config["TRUSTED_HOSTS"] = [HOST, "localhost"]
    app.register_blueprint(_pages(Desk(subjects), worker), url_prefix=f"/{token}")

    @app.after_request
    def protect(response: AnyResponse) -> AnyResponse:
        response.headers.update(HEADERS)
        return response

    return app


def _pages(desk: Desk, worker: Worker) -> Blueprint:
    """Return the addresses below the token."""
    pages = Blueprint("pages", __name__)
    made = templates.environment(FOLDER)

    def render(name: str, status: int = 200, **facts: Any) -> Response:
        text = made.get_template(name).render(url=url_for, subjects=desk.subjects, **PAGE_FACTS, **facts)
        # Names of files may hold bytes that are no text.
        return Response(text.encode("utf-8", "replace"), status, mimetype="text/html")

    @pages.url_value_preprocessor
    def check_number(_: str | None, values: dict[str, Any] | None) -> None:
        if values and "number" in values and values["number"] >= len(desk.subjects):
            abort(404)

    for kind in EXPECTED:
        pages.register_error_handler(kind, lambda error: ({"error": message_of(error)}, 422))

    @pages.get("/")
    def gallery() -> AnyResponse:
        if len(desk.subjects) == 1:
            return redirect(url_for(".picture", number=0))
        return render("gallery.html")

    @pages.get("/assets/<name>")
    def asset(name: str) -> Response:
        if name not in ASSETS:
            abort(404)
        return Response(ASSETS[name], mimetype=TYPES[Path(name).suffix])

    @pages.get("/<int:number>/")
    def picture(number: int) -> Response:
        subject = desk.subjects[number]
        found: dict[str, Any] = {"number": number, "subject": subject, "original": None, "facts": "", "error": ""}
        try:
            found["original"] = worker.do(lambda: desk.original(number))
            found["facts"] = subject.facts()
        except EXPECTED as error:
            found["error"] = message_of(error)
        return render("picture.html", 422 if found["error"] else 200, **found)

    _add_pictures(pages, desk, worker)
    _add_results(pages, desk, worker, render)
    return pages


def _add_pictures(pages: Blueprint, desk: Desk, worker: Worker) -> None:
    """Add the addresses of pictures in formats that browsers show."""

    @pages.get("/<int:number>/thumbnail.webp")
    def thumbnail(number: int) -> Response:
        return Response(worker.do(lambda: desk.thumbnail(number)), mimetype="image/webp")

    @pages.get("/<int:number>/original.png")
    def original(number: int) -> Response:
        image = worker.do(lambda: desk.original(number)) or abort(404)
        return Response(png(image), mimetype="image/png")

    @pages.get("/<int:number>/decoded.png")
    def decoded(number: int) -> Response:
        wish = wish_of(request.args)
        return Response(png(worker.do(lambda: desk.result(number, wish)).image), mimetype="image/png")

    @pages.get("/<int:number>/bits.png")
    def bits(number: int) -> Response:
        wish = wish_of(request.args)

        def work() -> bytes:
            result = desk.result(number, wish)
            if result.heat is None:
                abort(404)
            return heat_png(result.heat, heatmap.scale_top(result.heat), result.image)

        return Response(worker.do(work), mimetype="image/png")


def _add_results(pages: Blueprint, desk: Desk, worker: Worker, render: Callable[..., Response]) -> None:
    """Add the addresses of what is said of a file."""

    @pages.get("/<int:number>/result")
    def result(number: int) -> Response:
        """Send lines while a file is made: how much is done, its facts, its command if it is decoded, its likeness."""
        wish, name = wish_of(request.args), desk.subjects[number].name

        def work(report: Report) -> None:
            found = desk.result(number, wish, report)
            report(found.facts | {"command": wish.command(name) if wish else None})
            report({"likeness": found.likeness})

        return Response(worker.lines(work), mimetype="application/x-ndjson")

    @pages.get("/<int:number>/ledger")
    def ledger(number: int) -> Response:
        wish = wish_of(request.args)

        def work() -> tuple[Rows, bool]:
            found = desk.result(number, wish)
            return rows_of(found.ledger, lossy=found.is_lossy), found.file_bytes is None

        rows, archived = worker.do(work)
        return render("account.html", rows=rows, archived=archived)

    @pages.get("/<int:number>/scale")
    def scale(number: int) -> dict[str, float | None]:
        """Return the bits per pixel of the last colour of the map of bits, their mean and the most; None if stored."""
        wish = wish_of(request.args)

        def work() -> dict[str, float | None]:
            bits = desk.result(number, wish).heat
            if bits is None:
                return {"top": None}
            mean = float(bits.mean(dtype=np.float64))
            return {"top": heatmap.scale_top(bits), "mean": mean, "largest": float(bits.max())}

        return worker.do(work)


def serve(subjects: Sequence[Subject], worker: Worker) -> tuple[BaseWSGIServer, str]:
    """Return a server on a free port, which is to be started, and the address of its first page."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it prints a line for each request
    server = make_server(HOST, 0, application(subjects, token, worker), threaded=True)
    return server, f"http://{HOST}:{server.port}/{token}/"
